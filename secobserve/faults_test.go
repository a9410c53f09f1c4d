package secobserve

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/fakesecobserve"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// always has every request go wrong in the same way.
func always(f fakesecobserve.Fault) func(int, *http.Request) fakesecobserve.Fault {
	return func(int, *http.Request) fakesecobserve.Fault { return f }
}

// What SecObserve answers wrongly deletes nothing, changes nothing, and is reported once, until it works again.
func TestWrongAnswersDeleteNothing(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		for name, c := range map[string]struct {
			fault fakesecobserve.Fault
			class string
			says  string // what happened, where, and what to do
		}{
			"a wrong token": {
				fakesecobserve.Unauthorized, "SecObserveUnauthorized", "SecObserve, users/: it answered 401 Unauthorized: " +
					"the token is wrong, has expired, or its user is deactivated; create a new one in SecObserve, " +
					"set TOCSIN_SECOBSERVE_TOKEN to it, and restart Tocsin" + consequence,
			},
			"no rights": {
				fakesecobserve.Forbidden, "SecObserveForbidden", "SecObserve, users/: it answered 403 Forbidden: " +
					"the user of the token may not read this; set TOCSIN_SECOBSERVE_TOKEN to the token of a superuser, " +
					"and restart Tocsin" + consequence,
			},
			"not found": {
				fakesecobserve.NotFound, "SecObserveMissing", "SecObserve, users/: it answered 404 Not Found: " +
					"there is no such thing for the user of the token; TOCSIN_SECOBSERVE_URL must be the address of " +
					"SecObserve's backend, without /api" + consequence,
			},
			"HTML": {fakesecobserve.HTML, "SecObserveMalformed", malformed("the answer is not the JSON that SecObserve sends")},
			"empty lists": {
				fakesecobserve.EmptyList, "SecObserveNoSuperuser", noSuperuser("its list of users lacks the user of its token"),
			},
			"half a page": {
				fakesecobserve.HalfPage, "SecObserveIncomplete", "SecObserve, users/: a page has 1 rows where 2 are counted; " +
					"nothing was deleted, and the next pass reads it again" + consequence,
			},
			"half a body": {
				fakesecobserve.Truncated, "SecObserveMalformed", malformed("the answer is not the JSON that SecObserve sends"),
			},
			"another version": {
				fakesecobserve.OtherVersion, "SecObserveMalformed",
				malformed(`there is no field "last_observation_change", which SecObserve 1.50 and newer have`),
			},
			"rights that go": {
				fakesecobserve.SuperuserLost, "SecObserveNoSuperuser", noSuperuser("the user of its token is no superuser"),
			},
			"a token of nobody": {
				fakesecobserve.LessPrivileged, "SecObserveNoSuperuser", noSuperuser("the user of its token is no superuser"),
			},
			"no answer": {
				fakesecobserve.ServerError, "SecObserveUnavailable", "SecObserve, users/: it answered 502 Bad Gateway; " +
					"see whether SecObserve runs and can be reached from here; Tocsin goes on trying" + consequence,
			},
			"an answer cut off": {
				fakesecobserve.Cut, "SecObserveUnavailable", "SecObserve, users/: the connection ended without an answer; " +
					"see whether SecObserve runs and can be reached from here; Tocsin goes on trying" + consequence,
			},
			"an endless patience": {
				fakesecobserve.TooMany, "SecObserveThrottled", "SecObserve, users/: it answered 429 Too Many Requests; " +
					"see what else sends requests as the user of the token; Tocsin goes on trying" + consequence,
			},
		} {
			t.Run(name, func(t *testing.T) {
				e := newEnv(t, testenvCopy(t, db))
				e.load()
				kim := e.model.AddUser(fakesecobserve.User{Username: "kim", FullName: "Kim"})
				e.model.SetMember(e.model.AddProduct(fakesecobserve.Product{Name: "Three"}), kim, 4)
				e.pass()
				e.equal()
				before := e.stored()
				e.server.SetFault(always(c.fault))
				for range 4 {
					e.model.Advance(time.Minute)
					_, err := e.sync.Sync(t.Context(), nil, Options{})
					if err != nil && strings.Contains(err.Error(), fakesecobserve.Token) {
						t.Errorf("the error shows the token: %v", err)
					}
				}
				if diff := cmp.Diff(before, e.stored()); diff != "" {
					t.Errorf("the tables changed (-before +after):\n%s", diff)
				}
				if diff := cmp.Diff([]string{c.class}, e.reports()); diff != "" {
					t.Errorf("reports (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff([]string{c.says}, e.reportTexts()); diff != "" {
					t.Errorf("what the report says (-want +got):\n%s", diff)
				}
				e.server.SetFault(nil)
				e.pass()
				e.equal()
				e.server.SetFault(always(c.fault))
				for range 3 {
					_, _ = e.sync.Sync(t.Context(), nil, Options{})
				}
				if diff := cmp.Diff([]string{c.class, c.class}, e.reports()); diff != "" {
					t.Errorf("reports after it worked in between (-want +got):\n%s", diff)
				}
			})
		}
	})
}

func malformed(why string) string {
	where := "users/"
	if strings.Contains(why, "last_observation_change") {
		where = "products/"
	}
	return "SecObserve, " + where + ": " + why + "; check that TOCSIN_SECOBSERVE_URL is the address of SecObserve's " +
		"backend, without /api, and that no proxy answers for it" + consequence
}

func noSuperuser(why string) string {
	return "SecObserve does not show all that it has: " + why + ". Nothing is deleted here, and neither users, members " +
		"nor settings are read. Make the user of the token a superuser there, or set TOCSIN_SECOBSERVE_TOKEN to the token " +
		"of a superuser and restart Tocsin"
}

// reportTexts lists what the failures that wait to be notified say.
func (e *env) reportTexts() (texts []string) {
	e.t.Helper()
	for _, text := range e.events(dbmodel.KindException) {
		var p dbmodel.EventPayload
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			e.t.Fatal(err)
		}
		texts = append(texts, p.Exception.Message)
	}
	return texts
}

// testenvCopy is another empty database of the same kind.
func testenvCopy(t *testing.T, like *dbmodel.DB) *dbmodel.DB {
	t.Helper()
	if like.DB == like.Reader {
		return testenv.PostgresDB(t)
	}
	return testenv.SQLiteDB(t)
}

func TestTooOldVersionIsNotRead(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.SQLiteDB(t))
	e.server.SetVersion("version_1.49.0")
	if _, err := e.sync.Sync(t.Context(), nil, Options{}); !IsKind(err, TooOld) {
		t.Errorf("an old version: %v", err)
	}
	if diff := cmp.Diff([]string{"SecObserveTooOld"}, e.reports()); diff != "" {
		t.Error(diff)
	}
	for version, want := range map[string]bool{"1.50.0": false, "version_1.9": true, "0.99": true, "2.0": false, "dev": false} {
		if tooOld(version) != want {
			t.Errorf("%s: %v", version, !want)
		}
	}
}

// More than a tenth at once is held until somebody confirms it.
func TestManyDeletionsAreHeld(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db)
		_, one, _ := e.load()
		var products, observations []int64
		for i := range 40 {
			products = append(products, e.model.AddProduct(fakesecobserve.Product{Name: "P"}))
			observations = append(observations, e.model.AddObservation(finding(one, strings.Repeat("x", i+1))))
		}
		e.pass()
		e.evaluated()
		for i := range 15 {
			e.model.DeleteObservation(observations[i])
			e.model.DeleteProduct(products[i])
		}
		e.model.DeleteProduct(products[20])
		for range 3 {
			e.model.Advance(time.Minute)
			e.pass()
		}
		if got := e.stored(); len(got.Products) != 42 || len(got.Observations) != 47 {
			t.Errorf("deleted: %d products and %d observations are left", len(got.Products), len(got.Observations))
		}
		reports := e.reports()
		slices.Sort(reports)
		if diff := cmp.Diff([]string{"SecObserveObservationsHeld", "SecObserveProductsHeld"}, reports); diff != "" {
			t.Errorf("reports (-want +got):\n%s", diff)
		}
		if _, err := e.sync.Sync(t.Context(), nil, Options{ConfirmDeletions: true}); err != nil {
			t.Fatal(err)
		}
		e.equal()
		e.pass()
		if n := len(e.reports()); n != 2 {
			t.Errorf("%d reports", n)
		}
	})
}

// What Tocsin refuses stops that one item, and is reported by name, once.
func TestRefusalsStopOneItem(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db)
		_, one, _ := e.load()
		odd := e.model.AddObservation(fakesecobserve.Observation{Product: one, Title: "odd words", Severity: "Blocker", Status: "Open", ParserType: "SCA"})
		user := e.model.AddUser(fakesecobserve.User{Username: "two words", FullName: "Two"})
		e.model.EditProduct(one, func(p *fakesecobserve.Product) { p.EmailTo = "good@x.org, not an address" })
		good := e.model.AddObservation(finding(one, "good"))
		for range 2 {
			e.pass()
			e.model.Advance(time.Minute)
		}
		if got := e.stored().Observations; got[good].ID == 0 || got[odd].ID != 0 {
			t.Errorf("stored: %v", got)
		}
		if diff := cmp.Diff([]string{"SecObserveRefused"}, e.reports()); diff != "" {
			t.Errorf("reports (-want +got):\n%s", diff)
		}
		report := strings.Join(e.events(dbmodel.KindException), "")
		for _, part := range []string{"odd words", "two words", "notification_email_to"} {
			if !strings.Contains(report, part) {
				t.Errorf("the report does not name %q: %s", part, report)
			}
		}
		e.model.Assess(odd, func(o *fakesecobserve.Observation) { o.Severity = "High" })
		e.model.EditUser(user, func(u *fakesecobserve.User) { u.Username = "two" })
		e.model.EditProduct(one, func(p *fakesecobserve.Product) { p.EmailTo = "good@x.org" })
		e.model.Advance(time.Minute)
		e.pass()
		e.equal()
		left, err := dbmodel.SecObserveRefusals(t.Context(), db)
		if err != nil || len(left) > 0 {
			t.Errorf("still refused: %v, %v", left, err)
		}
	})
}
