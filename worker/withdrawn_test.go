package worker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestWithdrawnSubscriptions: what waits for a subscription that is disabled or deleted meanwhile fails, unless another one sends
// it to the same target.
func TestWithdrawnSubscriptions(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		e.product(2, "")
		e.settings(func(s *dbmodel.Settings) { s.MemberNotificationTypes = []rule.Type{rule.TypeObservation} })
		ctx, url := t.Context(), e.receiver.URL
		alice := e.user("alice", nil)
		e.member(1, alice)
		disabled := []*dbmodel.Subscription{
			e.subscribe("team", rule.Slack, about(1), url+"/disabled"),
			e.subscribe("alice", rule.Slack, of(alice), url+"/alice"),
			e.subscribe("first", rule.Slack, about(1), url+"/twice"),
			e.subscribe("narrow", rule.Slack, about(1), url+"/elsewhere"),
		}
		deleted := e.subscribe("deleted", rule.Slack, about(1), url+"/deleted")
		e.subscribe("second", rule.Slack, about(1), url+"/twice")
		e.subscribe("of another product", rule.Slack, about(2), url+"/elsewhere")
		e.subscribe("stays", rule.Slack, about(1), url+"/stays")

		paths := []string{"/disabled", "/alice", "/twice", "/elsewhere", "/deleted", "/stays"}
		addresses := make([]string, len(paths))
		for i, path := range paths {
			addresses[i] = url + path
		}
		targets, err := dbmodel.EnsureTargets(ctx, db, e.vault, rule.Slack, addresses)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range targets {
			if lease, err := dbmodel.TakeTarget(ctx, db, id, "test"); err != nil || !lease.Mine {
				t.Fatal(lease, err)
			}
		}
		e.accept(observation(1, 1, rule.High))
		e.waitFor("the deliveries", func() bool { return len(e.deliveries(dbmodel.Pending)) == len(paths) })
		for _, s := range disabled {
			if _, err := db.ExecContext(ctx, "UPDATE subscriptions SET enabled = ? WHERE id = ?", false, s.ID); err != nil {
				t.Fatal(err)
			}
		}
		if err := dbmodel.DeleteSubscription(ctx, db, deleted.ID); err != nil {
			t.Fatal(err)
		}
		for _, id := range targets {
			if err := dbmodel.YieldTarget(ctx, db, id, "test"); err != nil {
				t.Fatal(err)
			}
		}
		e.queue.Poke(ctx, targets)
		e.idle(10 * time.Second)

		got := map[string]int{}
		for _, path := range paths {
			got[path] = len(e.receiver.headlines(path))
		}
		want := map[string]int{"/disabled": 0, "/alice": 0, "/twice": 1, "/elsewhere": 0, "/deleted": 0, "/stays": 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
		var reasons []string
		for _, d := range e.deliveries(dbmodel.Failed) {
			reasons = append(reasons, fmt.Sprint(d.Attempts, " ", d.LastError))
		}
		const reason = "0 Its subscription was disabled or deleted before it was sent."
		if !slices.Equal(reasons, slices.Repeat([]string{reason}, 4)) || len(e.notifications()) != 1 {
			t.Errorf("failed: %q, %d notifications", reasons, len(e.notifications()))
		}
	})
}
