package worker

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/channeltest"
	"github.com/seed91453169/tocsin/channel/webhook"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// dataReceiver takes signed webhooks.
type dataReceiver struct {
	*httptest.Server
	mu       sync.Mutex
	status   int
	requests []channeltest.Signed
	batches  [][]map[string]any // the notifications of each request that was taken
	ids      []string           // of all requests
}

func newDataReceiver(t *testing.T) *dataReceiver {
	t.Helper()
	r := &dataReceiver{status: http.StatusNoContent}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		var m struct {
			Data struct{ Notifications []map[string]any }
		}
		if err := json.Unmarshal(body, &m); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		signed := channeltest.Signed{Secret: signingSecret, Body: string(body), Headers: map[string]string{}}
		for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
			signed.Headers[name] = q.Header.Get(name)
		}
		r.requests, r.ids = append(r.requests, signed), append(r.ids, q.Header.Get("webhook-id"))
		if r.status == http.StatusNoContent {
			r.batches = append(r.batches, m.Data.Notifications)
		}
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *dataReceiver) answers(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *dataReceiver) got() (batches [][]map[string]any, ids []string, requests []channeltest.Signed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.batches, r.ids, r.requests
}

// withWebhooks lets a worker send signed webhooks.
func withWebhooks(w *Worker) {
	w.Senders[rule.Webhook] = webhook.New(channel.NewHTTPClient([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}))
}

// TestSignedWebhooks: all that waits goes in batches, in order, with the same id when a batch is tried again; the notifications are
// whole or masked; a secret before the rotation signs too.
func TestSignedWebhooks(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e, r := newEnv(t, db, withWebhooks), newDataReceiver(t)
		e.product(1, "")
		e.subscribe("whole", rule.Webhook, nil, r.URL)
		team := e.subscribe("team", rule.Webhook, about(1), r.URL)
		contacts, err := dbmodel.SubscriptionContacts(t.Context(), db, team.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := dbmodel.RotateSecret(t.Context(), db, e.vault, team.ID, contacts[team.ID][0].ID, webhook.NewSecret().Reveal()); err != nil {
			t.Fatal(err)
		}
		e.report(accept.NewTaskException(accept.TaskExceptionInfo{
			ExceptionInfo: accept.ExceptionInfo{Class: "ValueError", Message: "text", Function: "import"}, ProductID: 1,
		}))
		e.idle(10 * time.Second)
		batches, _, requests := r.got()
		if len(batches) != 2 {
			t.Fatalf("%d batches", len(batches))
		}
		messages := map[any]bool{batches[0][0]["message"]: true, batches[1][0]["message"]: true}
		if !messages["text"] || !messages["..."] {
			t.Errorf("messages %v", messages)
		}
		signed := map[string]channeltest.Signed{}
		for i, request := range requests {
			signed[fmt.Sprint(i)] = request
		}
		channeltest.ValidateSigned(t, signed)
	})
}

// TestBatches: nothing is summed up, a batch has a hundred at most, and one that is tried again is the same one.
func TestBatches(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e, r := newEnv(t, db, withWebhooks), newDataReceiver(t)
		e.product(2, "")
		e.subscribe("all", rule.Webhook, about(2), r.URL)
		r.answers(http.StatusServiceUnavailable)
		list := make([]dbmodel.Observation, 230)
		for i := range list {
			list[i] = observation(int64(i+1), 2, rule.High)
		}
		e.accept(list...)
		testenv.Eventually(t, 10*time.Second, func() error {
			if _, ids, _ := r.got(); len(ids) == 0 {
				return fmt.Errorf("nothing came")
			}
			return nil
		}, "the first try")
		r.answers(http.StatusNoContent)
		e.idle(20 * time.Second)
		batches, ids, _ := r.got()
		var sizes []int
		var names, want []any
		for _, b := range batches {
			sizes = append(sizes, len(b))
			for _, n := range b {
				names = append(names, n["name"])
			}
		}
		for i := range list {
			want = append(want, list[i].Title)
		}
		if diff := cmp.Diff([]int{100, 100, 30}, sizes); diff != "" {
			t.Errorf("sizes (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
		first := ids[0]
		for _, id := range ids[:len(ids)-2] {
			if id != first {
				t.Errorf("ids %v", ids)
				break
			}
		}
	})
}

// TestGoneReceiver: 410 disables the contact, fails what waits, and is notified once.
func TestGoneReceiver(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e, r := newEnv(t, db, withWebhooks), newDataReceiver(t)
		e.product(1, "")
		sub := e.subscribe("Shop", rule.Webhook, about(1), r.URL)
		r.answers(http.StatusGone)
		list := make([]dbmodel.Observation, 120)
		for i := range list {
			list[i] = observation(int64(i+1), 1, rule.High)
		}
		e.accept(list...)
		e.idle(10 * time.Second)
		if _, ids, _ := r.got(); len(ids) != 1 {
			t.Errorf("%d requests", len(ids))
		}
		for _, d := range e.deliveries("") {
			if d.State != dbmodel.Failed || !strings.Contains(d.LastError, "gone (410)") {
				t.Fatalf("delivery: %+v", d)
			}
		}
		contacts, err := dbmodel.SubscriptionContacts(t.Context(), db, sub.ID)
		if err != nil || contacts[sub.ID][0].DisabledAt == nil {
			t.Errorf("contact: %+v %v", contacts, err)
		}
		e.accept(observation(1, 1, rule.Critical)) // what comes later passes it over
		e.idle(10 * time.Second)
		own := 0
		for _, n := range e.notifications() {
			if n.Own {
				own++
				if !strings.Contains(n.Message, "of subscription Shop fails: 410") {
					t.Errorf("reported: %s", n.Message)
				}
			}
		}
		if got := len(e.deliveries("")); own != 1 || got != len(list) {
			t.Errorf("%d own failures, %d deliveries", own, got)
		}
	})
}

// TestSecretsNotRead: an outage while the secrets of a webhook are read is no failure of its receiver.
func TestSecretsNotRead(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e, r := newEnv(t, db, withWebhooks), newDataReceiver(t)
		e.product(2, "")
		e.subscribe("all", rule.Webhook, about(2), r.URL)
		e.accept(observation(1, 2, rule.High))
		e.idle(10 * time.Second)
		sent := e.deliveries(dbmodel.Sent)
		if len(sent) != 1 {
			t.Fatalf("deliveries: %+v", sent)
		}
		if _, err := db.ExecContext(t.Context(), "ALTER TABLE targets RENAME COLUMN secret TO moved"); err != nil {
			t.Fatal(err)
		}
		d := &drain{w: e.worker, target: &dbmodel.Target{ID: sent[0].TargetID}}
		m, _, err := d.batchMessage(t.Context(), []dbmodel.PendingDelivery{{ID: sent[0].ID, NotificationID: sent[0].NotificationID}})
		if err == nil {
			t.Errorf("made %+v", m)
		}
	})
}
