package secobserve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/fakesecobserve"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/worker"
)

// compare demands that the tables equal the model, and that the notifications are those of the reference.
func (h *history) compare(baseline bool) {
	h.t.Helper()
	h.equal()
	h.report(baseline)
	h.deleted, h.leaving = append(h.deleted, h.leaving...), nil
	h.mergeEvents()
	h.evaluator.evaluate()
	h.reference.evaluate()
	if diff := cmp.Diff(h.reference.notified(), h.evaluator.notified()); diff != "" {
		h.t.Errorf("the notifications differ (-as if reported over HTTP +by SecObserve):\n%s", diff)
	}
}

// mergeEvents makes one event of those that wait and are about observations: which titles are notified depends on
// which observations are evaluated together. All that a web tier would report has to be among those that wait; what was
// changed and changed back may be there, too.
func (h *history) mergeEvents() {
	h.t.Helper()
	for _, kind := range []dbmodel.EventKind{dbmodel.KindBaseline, dbmodel.KindObservation} {
		wanted, found := h.reference.takeEvents(kind), h.evaluator.takeEvents(kind)
		for _, id := range wanted.IDs {
			if !slices.Contains(found.IDs, id) {
				h.t.Errorf("observation %d has changed and is not evaluated", id)
			}
		}
		if len(found.IDs) == 0 {
			continue
		}
		for _, r := range []*reference{h.reference, h.evaluator} {
			_, err := dbmodel.InsertEvent(h.t.Context(), r.db, dbmodel.NewEvent{Kind: kind, Payload: found})
			r.must(err)
		}
	}
}

// takeEvents removes the events of a kind that wait, and returns what they say together.
func (r *reference) takeEvents(kind dbmodel.EventKind) dbmodel.EventPayload {
	r.t.Helper()
	all := dbmodel.EventPayload{}
	for _, text := range (&env{t: r.t, db: r.db}).events(kind) {
		var p dbmodel.EventPayload
		r.must(json.Unmarshal([]byte(text), &p))
		all.IDs = append(all.IDs, p.IDs...)
		if all.Reported == nil {
			all.Reported = p.Reported
		}
		maps.Copy(all.Reported, p.Reported)
	}
	slices.Sort(all.IDs)
	all.IDs = slices.Compact(all.IDs)
	_, err := r.db.ExecContext(r.t.Context(), "DELETE FROM outbox WHERE kind = ?", kind)
	r.must(err)
	return all
}

// reportProducts stores the groups and products of the model in the reference.
func (h *history) reportProducts(ctx context.Context, tx bun.Tx) error {
	s := h.model.State()
	conditions := func(n fakesecobserve.Notification) dbmodel.NotificationSettings {
		return dbmodel.NotificationSettings{MinSeverity: rule.Severity(n.MinSeverity), MinPriority: n.MinPriority}
	}
	for id, g := range s.Groups {
		err := dbmodel.SaveProductGroup(ctx, tx, &dbmodel.ProductGroup{ID: id, Name: g.Name, NotificationSettings: conditions(g.Notification)})
		if err != nil {
			return err
		}
	}
	for id, p := range h.known {
		if _, there := s.Products[id]; !there {
			if err := dbmodel.DeleteProduct(ctx, tx, id); err != nil {
				return err
			}
			h.leaving = append(h.leaving, p)
		}
	}
	h.known = s.Products
	for id, p := range s.Products {
		row := &dbmodel.Product{ID: id, Name: p.Name, NotificationSettings: conditions(p.Notification)}
		if p.GroupID != 0 {
			row.ProductGroupID = &p.GroupID
		}
		if err := dbmodel.AddProduct(ctx, tx, id); err != nil { // of a new generation, where it comes back
			return err
		}
		if err := dbmodel.SaveProduct(ctx, tx, row); err != nil {
			return err
		}
	}
	return nil
}

// report reports to the reference what the model has by now.
func (h *history) report(baseline bool) {
	h.t.Helper()
	s := h.model.State()
	r := h.reference
	for id, o := range h.reported {
		if _, there := s.Observations[id]; there {
			continue
		}
		if err := dbmodel.DeleteObservation(h.t.Context(), r.db, id); err != nil && !errors.Is(err, dbmodel.ErrNotFound) {
			h.t.Fatal(err)
		}
		h.gone = append(h.gone, o)
	}
	h.reported = s.Observations
	r.must(r.db.InTx(h.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		if err := h.reportProducts(ctx, tx); err != nil {
			return err
		}
		settings, err := dbmodel.SettingsForUpdate(ctx, tx)
		if err != nil {
			return err
		}
		settings.TitleMinSeverity = rule.Severity(s.Settings.Title.MinSeverity)
		if err := dbmodel.SaveSettings(ctx, tx, settings); err != nil {
			return err
		}
		var list []dbmodel.Observation
		for _, o := range s.Observations {
			list = append(list, wanted(o))
		}
		if len(list) == 0 {
			return nil
		}
		event, err := accept.NewObservations(list)
		if err != nil {
			return err
		}
		if baseline {
			event.Baseline()
		}
		_, err = accept.InTx(ctx, tx, event)
		return err
	}))
}

// reference is a Tocsin with a worker.
type reference struct {
	t     *testing.T
	db    *dbmodel.DB
	queue *queue.Queue
}

func newReference(t *testing.T, db *dbmodel.DB) *reference {
	t.Helper()
	server := miniredis.RunT(t)
	open := func() redis.UniversalClient { return redis.NewClient(&redis.Options{Addr: server.Addr()}) }
	client := open()
	t.Cleanup(func() { client.Close() })
	vault, err := dbmodel.OpenVault(t.Context(), db, make([]byte, dbmodel.KeySize), nil)
	if err != nil {
		t.Fatal(err)
	}
	q := queue.New(client, zerolog.Nop())
	w := worker.New(worker.Config{
		DB: db, Vault: vault, Queue: q, NewRedis: open, BaseURL: "http://tocsin.example", Concurrency: 2,
		Senders: map[rule.Channel]channel.Sender{}, ShutdownTimeout: 5 * time.Second, Log: zerolog.Nop(),
	})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Shutdown)
	return &reference{t, db, q}
}

func (r *reference) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// evaluate waits until all that was accepted is evaluated.
func (r *reference) evaluate() {
	r.t.Helper()
	testenv.Eventually(r.t, 30*time.Second, func() error {
		var events []dbmodel.QueueableEvent
		err := r.db.InTx(r.t.Context(), func(ctx context.Context, tx bun.Tx) (err error) {
			for _, bulk := range []bool{false, true} {
				some, err := dbmodel.QueueableEvents(ctx, tx, bulk, time.Minute, 1_000)
				if err != nil {
					return err
				}
				events = append(events, some...)
			}
			return nil
		})
		if err != nil {
			return err
		}
		r.queue.Enqueue(r.t.Context(), events)
		c, err := dbmodel.Count(r.t.Context(), r.db)
		if err == nil && c.Outbox > 0 {
			err = fmt.Errorf("%d events wait", c.Outbox)
		}
		return err
	}, "not evaluated")
}

// notified lists the notifications about observations, titles and gates, in words.
func (r *reference) notified() (list []string) {
	r.t.Helper()
	found, err := dbmodel.Notifications(r.t.Context(), r.db, dbmodel.Viewer{Admin: true}, dbmodel.NotificationFilter{}, 100_000)
	r.must(err)
	slices.SortFunc(found, func(a, b dbmodel.Notification) int { return int(a.ID - b.ID) })
	gates := map[int64]string{} // in their order
	for i := range found {
		n := &found[i]
		switch n.Type {
		case rule.TypeObservation:
			list = append(list, fmt.Sprintf("%s %d %s %v %v", n.Event, *n.ObservationID, n.Name, words3(n.Before()), words3(n.After())))
		case rule.TypeObservationTitle:
			list = append(list, fmt.Sprintf("title %s %s %v %v", n.Event, n.Name, words3(n.Before()), words3(n.After())))
		case rule.TypeSecurityGate:
			gates[*n.ProductID] += " " + string(n.Event)
		case rule.TypeException, rule.TypeTask: // SecObserve's own
		}
	}
	for id, events := range gates {
		list = append(list, fmt.Sprintf("gate of %d:%s", id, events))
	}
	slices.Sort(list)
	return list
}

func words3(v *rule.Values) string {
	if v == nil {
		return "nothing"
	}
	text := fmt.Sprintf("%s/%s", v.Severity, v.Status)
	if v.Priority != nil {
		text += fmt.Sprintf("/%d", *v.Priority)
	}
	return text
}
