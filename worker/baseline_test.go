package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/tasks"
)

// What is reported as a baseline is remembered where it matches, its title too, and only what changes later is notified.
func TestBaselineIsRememberedAndNotNotified(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/slack")
		e.settings(func(s *dbmodel.Settings) { s.TitleMinSeverity = rule.High })
		list := []dbmodel.Observation{observation(1, 1, rule.Critical), observation(2, 1, rule.Low)}
		event, err := accept.NewObservations(list)
		if err != nil {
			t.Fatal(err)
		}
		err = db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := accept.InTx(ctx, tx, event.Baseline())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		e.idle(30 * time.Second)
		if got := e.notifications(); len(got) > 0 {
			t.Fatalf("a baseline is notified: %+v", got)
		}
		stored, err := dbmodel.ObservationByID(t.Context(), db, 1)
		if err != nil || stored.Remembered == nil || stored.Remembered.Severity != rule.Critical {
			t.Fatalf("remembered: %+v, %v", stored, err)
		}
		list[0].VulnerabilityID = "CVE" // evaluated again: nothing is new
		list[1].Severity = rule.High
		e.accept(list...)
		e.idle(30 * time.Second)
		if got := e.notifications(); len(got) != 2 || *got[0].ObservationID != 2 || got[1].Name != list[1].Title {
			t.Errorf("notified after a baseline: %+v", got)
		}
	})
}

// A baseline replaces what is remembered without a word, whichever door it takes.
func TestBaselineReplacesSilently(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/slack")
		e.accept(observation(1, 1, rule.Critical), observation(2, 1, rule.Critical), observation(3, 1, rule.High))
		e.idle(30 * time.Second)
		before := len(e.notifications())

		again := []tasks.Observation{reported(1, 1, rule.High), reported(2, 1, rule.Low), reported(3, 1, rule.High), reported(4, 1, rule.High)}
		again[2].KnownExploited = new(true)
		baseline, err := tasks.NewBaseline(again)
		if err != nil {
			t.Fatal(err)
		}
		connection := e.newRedis()
		defer connection.Close()
		if err := tasks.NewClient(connection).Enqueue(t.Context(), baseline); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, 20*time.Second, func() error {
			_, err := dbmodel.ObservationByID(t.Context(), db, 4)
			return err
		}, "not accepted")
		e.idle(30 * time.Second)
		if got := e.notifications(); len(got) != before {
			t.Fatalf("notified: %+v", got[before:])
		}
		high := &rule.Values{Severity: rule.High, Status: rule.Open}
		exploited := &rule.Values{Severity: rule.High, Status: rule.Open, KnownExploited: new(true)}
		for i, want := range []*rule.Values{high, nil, exploited, high} {
			o, err := dbmodel.ObservationByID(t.Context(), db, int64(i+1))
			if diff := cmp.Diff(want, o.Remembered); err != nil || diff != "" {
				t.Errorf("observation %d is remembered (-want +got): %v\n%s", i+1, err, diff)
			}
		}
	})
}

func TestBaselineThroughTheOutbox(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.OpenDB(t, testenv.PostgresURL(t, testenv.MigrateSchema)), nil)
	e.product(1, "/slack")
	connection := e.newRedis()
	defer connection.Close()
	outbox, err := tasks.NewOutbox(t.Context(), e.db.DB, connection)
	if err != nil {
		t.Fatal(err)
	}
	err = e.db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		baseline, err := tasks.NewBaseline([]tasks.Observation{reported(1, 1, rule.Critical)})
		if err != nil {
			return err
		}
		return outbox.EnqueueTx(ctx, tx, baseline)
	})
	if err != nil {
		t.Fatal(err)
	}
	outbox.Wake(t.Context())
	e.idle(30 * time.Second)
	o, err := dbmodel.ObservationByID(t.Context(), e.db, 1)
	if err != nil || o.Remembered == nil || len(e.notifications()) > 0 {
		t.Errorf("remembered %+v (%v), notified %+v", o, err, e.notifications())
	}
	if _, err := tasks.NewBaseline([]tasks.Observation{{}}); err == nil {
		t.Error("a faulty observation passes")
	}
}

// lateBaseline reports observations as a baseline that is not evaluated before comes is called.
func (e *env) lateBaseline(list ...dbmodel.Observation) (comes func()) {
	e.t.Helper()
	runAfter := func(ctx context.Context, db bun.IDB, at time.Time) error {
		_, err := db.NewRaw("UPDATE outbox SET run_after = ? WHERE kind = 'baseline'", at).Exec(ctx)
		return err
	}
	event, err := accept.NewObservations(list)
	if err != nil {
		e.t.Fatal(err)
	}
	err = e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		if _, err := accept.InTx(ctx, tx, event.Baseline()); err != nil {
			return err
		}
		return runAfter(ctx, tx, time.Now().Add(time.Hour))
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return func() {
		e.t.Helper()
		if err := runAfter(e.t.Context(), e.db, time.Now().Add(-time.Second)); err != nil {
			e.t.Fatal(err)
		}
		e.idle(30 * time.Second)
	}
}

// tried waits until the change that was reported was tried to be evaluated, or is evaluated.
func (e *env) tried() {
	e.t.Helper()
	testenv.Eventually(e.t, 15*time.Second, func() error {
		var tries int
		err := e.db.NewRaw("SELECT coalesce(max(attempts), 1) FROM outbox WHERE kind = 'observation'").
			Scan(e.t.Context(), &tries)
		if err == nil && tries < 1 {
			err = errors.New("the change was not tried")
		}
		return err
	}, "the change waits")
}

// TestChangeAfterBaseline: a change that is evaluated before the baseline of its observation has changed since, and is
// not new.
func TestChangeAfterBaseline(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/slack")
		comes := e.lateBaseline(observation(1, 1, rule.High), observation(2, 1, rule.High))
		e.accept(observation(1, 1, rule.Critical))
		e.tried()
		comes()
		got := e.notifications()
		if len(got) != 1 || got[0].Event != rule.EventChanged || got[0].Before().Severity != rule.High ||
			got[0].After().Severity != rule.Critical {
			t.Errorf("notified: %+v", got)
		}
	})
}

// TestBaselineDuringAnEvaluation: a baseline that comes while its observations are evaluated for another reason, and
// before these are locked, is not notified. On SQLite, which has one writer, none can come.
func TestBaselineDuringAnEvaluation(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{1, 2} {
		t.Run(fmt.Sprintf("%d observations", n), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, testenv.PostgresDB(t), nil)
			var before, known []dbmodel.Observation
			var ids []int64
			for id := range n {
				ids = append(ids, id+1)
				before = append(before, observation(id+1, 1, rule.High))
				known = append(known, observation(id+1, 1, rule.Critical))
			}
			err := e.db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				return dbmodel.SaveProduct(ctx, tx, &dbmodel.Product{ID: 1, Name: "without conditions"})
			})
			if err != nil {
				t.Fatal(err)
			}
			e.accept(before...)
			e.idle(30 * time.Second)
			e.product(1, "")
			baseline, err := accept.NewObservations(known)
			if err != nil {
				t.Fatal(err)
			}
			err = e.db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				if _, err := tx.ExecContext(ctx, "SELECT id FROM observations FOR UPDATE"); err != nil {
					return err
				}
				payload := dbmodel.EventPayload{IDs: ids}
				_, err := dbmodel.InsertEvent(t.Context(), e.db, dbmodel.NewEvent{Kind: dbmodel.KindObservation, Payload: payload})
				if err != nil {
					return err
				}
				testenv.Eventually(t, 15*time.Second, func() error {
					var waits int
					err := e.db.NewRaw("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "+
						"AND datname = current_database()").Scan(t.Context(), &waits)
					if err == nil && waits == 0 {
						err = errors.New("no transaction waits")
					}
					return err
				}, "the evaluation waits for the locks")
				_, err = accept.InTx(ctx, tx, baseline.Baseline())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			e.idle(30 * time.Second)
			if got := e.notifications(); len(got) > 0 {
				t.Errorf("notified: %+v", got)
			}
			for _, id := range ids {
				o, err := dbmodel.ObservationByID(t.Context(), e.db, id)
				if err != nil || o.Remembered == nil || o.Remembered.Severity != rule.Critical {
					t.Errorf("of observation %d is remembered: %+v, %v", id, o, err)
				}
			}
		})
	}
}

// TestTitleAfterBaseline: a title that another observation of a baseline bears is not new, either, though it is
// evaluated before that.
func TestTitleAfterBaseline(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		e.product(2, "")
		e.settings(func(s *dbmodel.Settings) { s.TitleMinSeverity = rule.High })
		same, worse := observation(3, 2, rule.High), observation(4, 2, rule.Critical)
		same.Title, worse.Title = "CVE-1", "CVE-2"
		comes := e.lateBaseline(observation(1, 1, rule.High), observation(2, 1, rule.High))
		e.accept(same, worse, observation(5, 2, rule.High))
		e.tried()
		comes()
		got := map[string]rule.Event{}
		for _, n := range e.notifications() {
			if n.Type == rule.TypeObservationTitle {
				got[n.Name] = n.Event
			}
		}
		want := map[string]rule.Event{"CVE-2": rule.EventChanged, "CVE-5": rule.EventNew}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("titles that are notified (-want +got):\n%s", diff)
		}
	})
}
