package worker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

func TestFirstName(t *testing.T) {
	t.Parallel()
	for full, want := range map[string]string{
		"": "", "  ": "", "Alex": "Alex", " Alex  Doe ": "Alex", "Doe, Alex": "Alex", "Doe, Alex M.": "Alex", "Doe,": "Doe,", "Ana-María Ruiz": "Ana-María",
	} {
		if got := firstName(full); got != want {
			t.Errorf("%q is greeted as %q", full, got)
		}
	}
}

// mailbox takes mail and notes how it greets.
type mailbox struct {
	mu    sync.Mutex
	greet map[string]string
}

func (m *mailbox) Send(_ context.Context, to channel.Target, message *channel.Message) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.greet[to.Address.Reveal()] = message.Greeting
	return nil
}

// TestMailGreets: by the first name of the user with this address, whatever its case; not where nobody has it, or where
// two share it.
func TestMailGreets(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		m := &mailbox{greet: map[string]string{}}
		e := newEnv(t, db, func(w *Worker) { w.Senders[rule.Email] = m })
		ctx := t.Context()
		for _, u := range []dbmodel.User{
			{Username: "alex", FullName: "Alex Doe", Email: "Alex@Example.com"},
			{Username: "nameless", Email: "nameless@example.com"},
			{Username: "one", FullName: "One", Email: "team@example.com"},
			{Username: "two", FullName: "Two", Email: "team@example.com"},
		} {
			if _, err := dbmodel.AddUser(ctx, db, u.Username); err != nil {
				t.Fatal(err)
			}
			stored, err := dbmodel.UserByName(ctx, db, u.Username)
			if err != nil {
				t.Fatal(err)
			}
			stored.FullName, stored.Email = u.FullName, u.Email
			if err := dbmodel.SaveUser(ctx, db, stored); err != nil {
				t.Fatal(err)
			}
		}
		e.settings(func(s *dbmodel.Settings) { s.EmailFrom = "tocsin@example.com" })
		want := map[string]string{"alex@example.com": "Alex", "nameless@example.com": "", "team@example.com": "", "else@example.com": ""}
		err := db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			for address := range want {
				targets, err := dbmodel.EnsureTargets(ctx, tx, e.vault, rule.Email, []string{address})
				if err != nil {
					return err
				}
				n := dbmodel.NewNotification{Notification: dbmodel.Notification{Type: rule.TypeTask, Name: "x"}, Targets: targets}
				if err := dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{n}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, 20*time.Second, func() error {
			m.mu.Lock()
			defer m.mu.Unlock()
			if len(m.greet) < len(want) {
				return fmt.Errorf("%d of %d came", len(m.greet), len(want))
			}
			return nil
		}, "not all mail came")
		m.mu.Lock()
		defer m.mu.Unlock()
		if diff := cmp.Diff(want, m.greet); diff != "" {
			t.Error(diff)
		}
	})
}
