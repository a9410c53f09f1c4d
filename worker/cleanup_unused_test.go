package worker

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestCleanupRemovesTheUnused: what no contact, delivery or observation refers to is removed, in batches, targets after a while
// only; all else stays.
func TestCleanupRemovesTheUnused(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		var free, kept []int64
		ensure := func(ctx context.Context, tx bun.Tx, addresses ...string) []int64 {
			ids, err := dbmodel.EnsureTargets(ctx, tx, e.vault, rule.Slack, addresses)
			if err != nil {
				t.Fatal(err)
			}
			return ids
		}
		err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			many := make([]string, cleanupBatch+1)
			for i := range many {
				many[i] = fmt.Sprintf("https://slack.example/%d", i)
			}
			free = ensure(ctx, tx, many...)
			kept = ensure(ctx, tx, "https://slack.example/contact", "https://slack.example/sent", "https://slack.example/failed")
			return dbmodel.SetContacts(ctx, tx, rule.Holder{Kind: rule.HolderTitles}, rule.Slack, []rule.Contact{{Channel: rule.Slack, Target: kept[0]}})
		})
		if err != nil {
			t.Fatal(err)
		}
		fill(t, db, 3, 0, kept[1:]...)
		e.exec(`UPDATE deliveries SET state = CASE target_id WHEN ? THEN 'sent' ELSE 'failed' END`, kept[1])
		e.product(1, "")
		born := dbmodel.Observation{ID: 1, ProductID: 1, Title: "born", Severity: rule.High, Status: rule.Open, ParserType: "SCA"}
		if _, err := dbmodel.AcceptObservations(t.Context(), db, []dbmodel.Observation{born}, dbmodel.AcceptOptions{}); err != nil {
			t.Fatal(err)
		}
		titles := make([]string, cleanupBatch+1)
		for i := range titles {
			titles[i] = fmt.Sprintf("title %d", i)
		}
		titles[7] = born.Title
		e.rememberTitles(titles)

		if run := e.cleanUp(); run.Message != fmt.Sprintf("deleted 0 notifications and %d addresses and titles that nothing refers to", cleanupBatch) {
			t.Errorf("at first: %+v", run)
		}
		if left := e.texts("SELECT title FROM observation_titles"); !slices.Equal(left, []string{born.Title}) {
			t.Errorf("titles: %q", left)
		}
		err = db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error { // it is used again
			kept = append(kept, ensure(ctx, tx, "https://slack.example/0")...)
			return dbmodel.SetContacts(ctx, tx, rule.Holder{Kind: rule.HolderExceptions}, rule.Slack, []rule.Contact{{Channel: rule.Slack, Target: kept[3]}})
		})
		if err != nil {
			t.Fatal(err)
		}
		if run := e.cleanUp(); run.Message != "deleted 0 notifications" {
			t.Errorf("too early: %+v", run)
		}
		e.exec("UPDATE targets SET unused_since = ? WHERE unused_since IS NOT NULL", time.Now().Add(-2*time.Hour))
		if run := e.cleanUp(); run.Message != fmt.Sprintf("deleted 0 notifications and %d addresses and titles that nothing refers to", cleanupBatch) {
			t.Errorf("after a while: %+v", run)
		}
		var left []int64
		if err := db.NewRaw("SELECT id FROM targets").Scan(t.Context(), &left); err != nil {
			t.Fatal(err)
		}
		slices.Sort(left)
		slices.Sort(kept)
		if diff := cmp.Diff(kept, left); diff != "" || kept[0] != free[0] {
			t.Errorf("targets (-want +got):\n%s", diff)
		}
	})
}

// rememberTitles stores titles of which something is remembered.
func (e *env) rememberTitles(titles []string) {
	e.t.Helper()
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		hashes := make([]dbmodel.Hash, len(titles))
		for i, title := range titles {
			hashes[i] = dbmodel.TitleHash(title)
		}
		_, err := dbmodel.LockTitles(ctx, tx, hashes, titles)
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) exec(statement string, args ...any) {
	e.t.Helper()
	if _, err := e.db.NewRaw(statement, args...).Exec(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) texts(query string) (list []string) {
	e.t.Helper()
	if err := e.db.NewRaw(query).Scan(e.t.Context(), &list); err != nil {
		e.t.Fatal(err)
	}
	return list
}
