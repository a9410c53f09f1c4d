package secobserve

import (
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/fakesecobserve"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

func TestFirstPassTakesEverything(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db)
		e.model.SetSettings(func(s *fakesecobserve.Settings) {
			s.EmailFrom, s.Frontend, s.TitleParser = "so@x.org", "https://so.example/", "SCA"
			s.Title.MinSeverity, s.Title.Statuses, s.ExceptionSlack = "High", []string{"Open"}, "https://hooks.slack.com/services/T/B/x"
		})
		group, one, _ := e.load()
		kim := e.model.AddUser(fakesecobserve.User{Username: "kim", FullName: "Kim", Email: "kim@x.org"})
		e.model.SetMember(group, kim, 1)
		team := int64(4711)
		e.model.SetMember(one, kim, 1)
		e.model.SetGroupMember(one, team, 4)
		e.model.SetInGroup(team, kim, true)
		e.pass()
		e.model.SetSettings(func(s *fakesecobserve.Settings) { s.Frontend = "https://so.example" })
		e.equal()
	})
}

func TestChangesAreKnownInTheNextPass(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db)
		group, one, two := e.load()
		m := e.model
		ids := func(product int64) (list []int64) {
			list, err := dbmodel.ProductObservationIDs(t.Context(), db, product)
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		first, last := ids(one)[0], ids(two)[0]
		steps := []struct {
			name string
			do   func()
		}{
			{"a new observation", func() { m.AddObservation(finding(one, "new")) }},
			{"an assessment", func() { m.Assess(first, func(o *fakesecobserve.Observation) { o.Severity = "Low" }) }},
			{"a deletion", func() { m.DeleteObservation(ids(one)[1]) }},
			{"a branch", func() {
				m.EditSilently(last, func(o *fakesecobserve.Observation) { o.Branch = "x" })
				m.DeleteBranch(two, "x")
			}},
			{"a group's settings", func() { m.EditGroup(group, func(g *fakesecobserve.Group) { g.EmailTo = "c@x.org"; g.Name = "T" }) }},
			{"a gate", func() { m.EditProduct(two, func(p *fakesecobserve.Product) { p.Gate = new(false) }) }},
			{"a new product", func() { m.AddObservation(finding(m.AddProduct(fakesecobserve.Product{Name: "Three"}), "three")) }},
			{"a product that leaves", func() { m.EditProduct(one, func(p *fakesecobserve.Product) { p.GroupID = 0 }) }},
			{"a group that is gone", func() { m.DeleteGroup(group) }},
			{"an approval", func() {
				waits := m.Propose(first, func(o *fakesecobserve.Observation) { o.Status = "Not affected" })
				m.Advance(10 * time.Minute)
				e.pass()
				m.Approve(waits)
			}},
			{"a late upload", func() {
				u := m.BeginUpload(one)
				u.Add(finding(one, "late"))
				u.Change(first, func(o *fakesecobserve.Observation) { o.Title = "changed late" })
				m.Advance(5 * time.Minute)
				m.AddObservation(finding(one, "early"))
				e.pass()
				u.Commit()
			}},
			{"users", func() {
				id := m.AddUser(fakesecobserve.User{Username: "a", FullName: "A", Superuser: true})
				m.SetMember(one, id, 5)
				e.pass()
				e.equal()
				m.EditUser(id, func(u *fakesecobserve.User) { u.Username, u.Inactive = "b", true })
				e.pass()
				e.equal()
				m.DeleteUser(id)
			}},
		}
		for _, step := range steps {
			m.Advance(time.Minute)
			step.do()
			m.Advance(time.Minute)
			e.pass()
			t.Log(step.name)
			e.equal()
		}
		// What moves no stamp is known within a day.
		m.EditSilently(first, func(o *fakesecobserve.Observation) { o.Priority = new(7) })
		m.Advance(24 * time.Hour)
		e.pass()
		e.equal()
		if list := e.reports(); len(list) > 0 {
			t.Errorf("reported: %v", list)
		}
	})
}

func TestIdlePassIsCheap(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db)
		for i := range 500 {
			e.model.AddProduct(fakesecobserve.Product{Name: string(rune('A'+i%26)) + "roduct"})
		}
		_, one, _ := e.load()
		e.model.SetGroupMember(one, 99, 1)
		e.pass()
		if n := e.pass().Requests; n > 10 {
			_, paths := e.server.Requests()
			t.Errorf("an idle pass takes %d requests, the last of %v", n, paths[len(paths)-int(n):])
		}
		e.restart()
		e.pass()
		if n := e.pass().Requests; n > 10 {
			t.Errorf("after a restart an idle pass takes %d requests", n)
		}
	})
}

// What is kept is not taken from SecObserve; all else is.
func TestKeep(t *testing.T) {
	t.Parallel()
	for word, keep := range map[string]Keep{
		"": {}, "contacts": {Contacts: true}, "conditions": {Conditions: true}, "members": {Members: true},
		"settings": {Settings: true},
	} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, testenv.SQLiteDB(t))
			e.sync.Keep = keep
			e.model.SetSettings(func(s *fakesecobserve.Settings) { s.ExceptionLimit, s.ExceptionEmail = 77, "x@x.org" })
			kim := e.model.AddUser(fakesecobserve.User{Username: "kim", FullName: "Kim"})
			_, one, _ := e.load()
			e.model.SetMember(one, kim, 1)
			e.pass()
			got := e.stored()
			product, err := dbmodel.ProductByID(t.Context(), e.db, one)
			if err != nil {
				t.Fatal(err)
			}
			taken := map[string]bool{
				"contacts":   e.contacts(rule.Holder{Kind: rule.HolderProduct, ID: one}) != "",
				"conditions": product.MinSeverity != "",
				"members":    len(got.Members) > 0,
				"settings":   got.Settings[1] == "77" && (word == "contacts") == (e.contacts(rule.Holder{Kind: rule.HolderExceptions}) == ""),
			}
			for what, is := range taken {
				if is == (what == word) {
					t.Errorf("%s are taken: %v", what, is)
				}
			}
			e.sync.Keep = Keep{}
			e.pass()
			e.equal() // what is not kept any more is taken then
		})
	}
}

// Superusers of SecObserve do not keep the first administrator from being made as long as none of them can log in here.
func TestSuperusersLeaveTheSetupOpen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		statement string
		want      bool
	}{
		"never logged in":        {"", false},
		"with a password":        {"UPDATE users SET password_hash = 'hash' WHERE username = 'root'", true},
		"by OpenID Connect":      {"UPDATE users SET oidc_issuer = 'https://id', oidc_subject = '7' WHERE username = 'root'", true},
		"administrator before":   {"UPDATE secobserve_users SET local_admin = TRUE", true},
		"other user here before": {"UPDATE secobserve_users SET local_admin = FALSE", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
				newEnv(t, db).load()
				user, err := dbmodel.UserByName(t.Context(), db, "root")
				if err != nil || !user.IsAdmin {
					t.Fatalf("the superuser is no administrator: %v", err)
				}
				if c.statement != "" {
					if _, err := db.ExecContext(t.Context(), c.statement); err != nil {
						t.Fatal(err)
					}
				}
				if there, err := dbmodel.HasAdministrator(t.Context(), db); err != nil || there != c.want {
					t.Errorf("there is an administrator: %v, want %v, %v", there, c.want, err)
				}
			})
		})
	}
}

// TestAdministratorBeforeSecObserveKeepsTheSetupClosed: an administrator that was made here, and whose user a pass takes
// over, is one without a password, too.
func TestAdministratorBeforeSecObserveKeepsTheSetupClosed(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db)
		if _, err := db.ExecContext(t.Context(), "INSERT INTO users (username, is_admin) VALUES ('root', TRUE)"); err != nil {
			t.Fatal(err)
		}
		for _, when := range []string{"before", "after"} {
			if there, err := dbmodel.HasAdministrator(t.Context(), db); err != nil || !there {
				t.Errorf("%s the pass: %v, %v", when, there, err)
			}
			if when == "before" {
				e.load()
			}
		}
	})
}
