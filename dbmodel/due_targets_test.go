package dbmodel_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestPlansOfDeliveries has one target with many messages, sent and pending, among many targets: what is read for each message
// is found through the index of what waits.
func TestPlansOfDeliveries(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		id := slackTarget(t, db)
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			return dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{
				{Notification: dbmodel.Notification{Type: rule.TypeSecurityGate, Name: "P"}, Targets: []int64{id}},
			})
		})
		const series = "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 20000) "
		postgres := db.Dialect().Name() == dialect.PG
		statements := []string{
			`INSERT INTO deliveries (notification_id, target_id, type, state) ` + series +
				`SELECT (SELECT min(id) FROM notifications), CASE WHEN i % 2 = 0 THEN (SELECT min(id) FROM targets) ELSE i END, 'security_gate',
				CASE WHEN i % 10 < 9 THEN 'sent' ELSE 'pending' END FROM s`,
			`INSERT INTO targets (channel, key, address) ` + series + `SELECT 'slack', CAST(CAST(i AS text) AS ` +
				map[bool]string{true: "bytea", false: "blob"}[postgres] + `), '' FROM s`,
			"ANALYZE",
		}
		if !postgres {
			statements = statements[:2] // it keeps no statistics here
		}
		for _, s := range statements {
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
		for statement, c := range map[string]struct {
			args  dbmodel.Args
			index string
		}{
			dbmodel.PendingDeliveriesStatement: {dbmodel.Args{"target": id, "live": bun.Safe("true"), "limit": 11}, "deliveries_pending"},
			dbmodel.DigestMembersStatement: {dbmodel.Args{
				"target": id, "batch": int64(0), "after": int64(0), "live": bun.Safe("true"), "limit": 1000,
			}, "deliveries_pending"},
			dbmodel.AskAgainStatement:          {dbmodel.AskAgainArgs(db, id, 0), "deliveries_pending"},
			dbmodel.WaitingTargetsStatement:    {dbmodel.Args{"after": int64(5), "limit": 1000}, "deliveries_pending"},
			dbmodel.SweepWorkStatement:         {nil, "deliveries_pending"},
			dbmodel.FailingTargetsDueStatement: {dbmodel.Args{"limit": 500}, "targets_failing"},
			dbmodel.OldestWorkStatement:        {dbmodel.Args{"live": bun.Safe("true"), "events": bun.Safe("true"), "most": 2000}, "deliveries_pending"},
		} {
			plan := planOf(t, db, statement, c.args)
			scans := strings.Contains(plan, "deliveries_pkey") || strings.Contains(plan, "Seq Scan on deliveries") || strings.Contains(plan, "Sort Key: deliveries") ||
				strings.Contains(plan, "Seq Scan on targets") || strings.Contains(plan, "SCAN outbox\n")
			if scans || !strings.Contains(plan, c.index) {
				t.Errorf("%s\n\nis not read from %s:\n%s", statement, c.index, plan)
			}
		}
	})
}

func planOf(t *testing.T, db *dbmodel.DB, statement string, args dbmodel.Args) string {
	t.Helper()
	if db.Dialect().Name() == dialect.PG {
		lines, err := dbmodel.QueryAll[string](t.Context(), db, "EXPLAIN "+statement, args)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n")
	}
	steps, err := dbmodel.QueryAll[struct {
		ID, Parent, Notused int64
		Detail              string
	}](t.Context(), db, "EXPLAIN QUERY PLAN "+statement, args)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range steps {
		b.WriteString(s.Detail + "\n")
	}
	return b.String()
}

// TestTargetsThatWaitInTurn steps through targets in parts; those that fail come by their time instead.
func TestTargetsThatWaitInTurn(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		vault := newVault(t, db)
		ids, err := dbmodel.EnsureTargets(ctx, db, vault, rule.Email, []string{"a@example.com", "b@example.com", "c@example.com", "d@example.com", "e@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(ids)
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			return dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{
				{Notification: dbmodel.Notification{Type: rule.TypeSecurityGate, Name: "P"}, Targets: ids},
			})
		})
		for _, failing := range []struct {
			id   int64
			wait time.Duration
		}{{ids[1], -time.Second}, {ids[3], -time.Minute}, {ids[4], time.Minute}} {
			if _, err := dbmodel.TakeTarget(ctx, db, failing.id, "me"); err != nil {
				t.Fatal(err)
			}
			if _, err := dbmodel.TargetFailed(ctx, db, failing.id, "me", failing.wait, time.Hour); err != nil {
				t.Fatal(err)
			}
			if err := dbmodel.YieldTarget(ctx, db, failing.id, "me"); err != nil {
				t.Fatal(err)
			}
		}
		var turns [][]int64
		next := int64(0)
		for range 4 {
			var part []int64
			if part, next, err = dbmodel.WaitingTargets(ctx, db, next, 2); err != nil {
				t.Fatal(err)
			}
			turns = append(turns, part)
		}
		if diff := cmp.Diff([][]int64{{ids[0]}, {ids[2]}, nil, {ids[0]}}, turns); diff != "" {
			t.Errorf("in turn (-want +got):\n%s", diff)
		}
		due, err := dbmodel.FailingTargetsDue(ctx, db, 10)
		if err != nil || !slices.Equal(due, []int64{ids[3], ids[1]}) {
			t.Errorf("failing: %v %v, want %v", due, err, []int64{ids[3], ids[1]})
		}
	})
}

// TestRenewTargets prolongs the leases that are held, and names those that are lost.
func TestRenewTargets(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx, id := t.Context(), slackTarget(t, db)
		if _, err := dbmodel.TakeTarget(ctx, db, id, "me"); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(ctx, "UPDATE targets SET lease_until = next_at"); err != nil {
			t.Fatal(err)
		}
		lost, err := dbmodel.RenewTargets(ctx, db, []dbmodel.HeldLease{{TargetID: id, Owner: "me"}, {TargetID: id, Owner: "other"}, {TargetID: 99, Owner: "gone"}})
		slices.Sort(lost)
		if err != nil || !slices.Equal(lost, []string{"gone", "other"}) {
			t.Errorf("lost: %v %v", lost, err)
		}
		if lease, err := dbmodel.TakeTarget(ctx, db, id, "next"); err != nil || lease.Mine {
			t.Errorf("the lease was not prolonged: %+v %v", lease, err)
		}
	})
}
