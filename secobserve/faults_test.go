package secobserve

import (
	"context"
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
		}{
			"a wrong token":       {fakesecobserve.Unauthorized, "SecObserveUnauthorized"},
			"no rights":           {fakesecobserve.Forbidden, "SecObserveForbidden"},
			"not found":           {fakesecobserve.NotFound, "SecObserveMissing"},
			"HTML":                {fakesecobserve.HTML, "SecObserveMalformed"},
			"empty lists":         {fakesecobserve.EmptyList, "SecObserveNoSuperuser"},
			"half a page":         {fakesecobserve.HalfPage, "SecObserveIncomplete"},
			"half a body":         {fakesecobserve.Truncated, "SecObserveMalformed"},
			"another version":     {fakesecobserve.OtherVersion, "SecObserveMalformed"},
			"rights that go":      {fakesecobserve.SuperuserLost, "SecObserveNoSuperuser"},
			"a token of nobody":   {fakesecobserve.LessPrivileged, "SecObserveNoSuperuser"},
			"no answer":           {fakesecobserve.ServerError, "SecObserveUnavailable"},
			"an answer cut off":   {fakesecobserve.Cut, "SecObserveUnavailable"},
			"an endless patience": {fakesecobserve.TooMany, "SecObserveThrottled"},
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

// killing ends the pass at the n-th point: a request, or a transaction before or after its commit.
type killing struct {
	http.RoundTripper
	n int
}

func (k *killing) point() error {
	if k.n--; k.n == 0 {
		return errKilled
	}
	return nil
}

// RoundTrip implements http.RoundTripper.
func (k *killing) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := k.point(); err != nil {
		return nil, err
	}
	return k.RoundTripper.RoundTrip(r)
}

// A pass that is killed at any request, or around any commit, loses nothing and doubles nothing.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db)
		_, one, two := e.load()
		changes := 0
		// pass kills a pass at the n-th point, and lets the next one end; it returns false where there is no such point.
		pass := func(n int) bool {
			e.restart()
			e.sync.sizes = sizes{list: 2, all: 2, newest: []int{1, 3}, approval: []int{1, 3}, slice: 1}
			k := &killing{e.sync.Client.http.Transport, n}
			e.sync.Client.http.Transport = k
			e.sync.committed = func(bool) error { return k.point() }
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			e.sync.Client.pause = func(context.Context, time.Duration) bool { cancel(); return false }
			_, err := e.sync.Sync(ctx, nil, Options{})
			killed := err != nil
			e.restart()
			e.sync.sizes = sizes{list: 2, all: 2, newest: []int{1, 3}, approval: []int{1, 3}, slice: 100}
			e.pass()
			e.equal()
			return killed
		}
		for n := 1; ; n++ {
			changes++
			late := e.model.BeginUpload(one)
			added := late.Add(finding(one, "added"))
			e.model.Advance(time.Minute)
			late.Commit()
			e.model.Assess(added, func(o *fakesecobserve.Observation) { o.Priority = new(1 + n%99) })
			waits := e.model.Propose(added, func(o *fakesecobserve.Observation) { o.Status = "Resolved" })
			e.model.Approve(waits)
			e.model.EditProduct(two, func(p *fakesecobserve.Product) { p.Gate = new(n%2 == 0) })
			gone := e.model.AddObservation(finding(two, "gone"))
			product := e.model.AddProduct(fakesecobserve.Product{Name: "short", GroupID: 0})
			user := e.model.AddUser(fakesecobserve.User{Username: "short", FullName: "Short"})
			e.model.SetMember(product, user, 3)
			if !pass(n) {
				break
			}
			e.model.DeleteObservation(gone)
			e.model.DeleteProduct(product)
			e.model.DeleteUser(user)
			e.model.DeleteObservation(added)
			e.model.Advance(time.Minute)
			pass(n)
		}
		if got := len(e.events(dbmodel.KindSecurityGate)); got != changes {
			t.Errorf("%d changes of the gate are events, of %d", got, changes)
		}
		t.Logf("killed at %d points", changes-1)
	})
}
