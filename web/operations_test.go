package web_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

func TestFailedEvents(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		for _, event := range []dbmodel.NewEvent{
			{Kind: dbmodel.KindObservation, Payload: dbmodel.EventPayload{IDs: []int64{4, 5}}},
			{Kind: dbmodel.KindSecurityGate, ProductID: 1},
			{Kind: dbmodel.KindObservation, Payload: dbmodel.EventPayload{IDs: []int64{6}}}, // it waits
			{Kind: dbmodel.KindException, Payload: dbmodel.EventPayload{Exception: &dbmodel.Exception{Class: "KeyError", Message: "s3cr3t-of-the-webhook", ProductID: 1, ObservationID: 9}}},
		} {
			if _, err := dbmodel.InsertEvent(t.Context(), e.db, event); err != nil {
				t.Fatal(err)
			}
		}
		e.exec("UPDATE outbox SET failed_at = ?, failures = 5, attempts = 6, processes_lost = 2, reason = 'panic', run_after = ? WHERE id <> 3", time.Now(), time.Now().Add(time.Hour))
		const path = "/api/v1/failed-events"
		page := e.want(200, "GET", path+"?limit=2", nil)
		items := page.json["items"].([]any)
		first, second := items[0].(map[string]any), items[1].(map[string]any)
		if len(items) != 2 || first["kind"] != "exception" || fmt.Sprint(first["observation_ids"], first["product_id"]) != "[9] 1" ||
			second["kind"] != "security_gate" || fmt.Sprint(second["observation_ids"], second["product_id"]) != "[] 1" {
			t.Errorf("%s", page.text)
		}
		last := e.want(200, "GET", path+"?cursor="+page.json["next_cursor"].(string), nil).json["items"].([]any)[0].(map[string]any)
		if fmt.Sprintf("%v %v %v %v", last["observation_ids"], last["reason"], last["attempts"], last["product_id"]) != "[4 5] panic 6 <nil>" || last["failed_at"] == nil {
			t.Errorf("%v", last)
		}
		retry := func(body any, want float64) {
			t.Helper()
			if got := e.want(202, "POST", path+"/retry", body); got.json["retried"] != want {
				t.Errorf("retry %v: %s", body, got.text)
			}
		}
		retry(`{"ids":[]}`, 0)
		retry(`{"ids":[3,77]}`, 0)
		retry(`{"ids":[1,3]}`, 1)
		retry(nil, 2)
		retry(`{}`, 0)
		for i, kind := range []dbmodel.EventKind{dbmodel.KindObservation, dbmodel.KindSecurityGate, dbmodel.KindObservation, dbmodel.KindException} {
			if _, err := dbmodel.ClaimEvent(t.Context(), e.db, kind, int64(i)+1, false); err != nil {
				t.Errorf("event %d does not wait: %v", i+1, err)
			}
		}
	})
}

// TestDismissFailedEvent: an event that is set aside can be given up; one that waits cannot, and the log says who did it.
func TestDismissFailedEvent(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("boss", true)
		for _, id := range []int64{4, 5} {
			event := dbmodel.NewEvent{Kind: dbmodel.KindObservation, Payload: dbmodel.EventPayload{IDs: []int64{id}}}
			if _, err := dbmodel.InsertEvent(t.Context(), e.db, event); err != nil {
				t.Fatal(err)
			}
		}
		e.exec("UPDATE outbox SET failed_at = ?, failures = 5, attempts = 6, reason = 'panic' WHERE id = 1", time.Now())
		const path = "/api/v1/failed-events"
		e.want(404, "DELETE", path+"/2", nil)
		e.want(404, "DELETE", path+"/77", nil)
		e.want(204, "DELETE", path+"/1", nil, e.as("boss")...)
		e.want(404, "DELETE", path+"/1", nil)
		if n := e.count("outbox", "id = 2"); n != 1 || e.count("outbox", "TRUE") != 1 {
			t.Error("the event that waits is gone, or the other one is not")
		}
		const logged = `"user":"boss","event":1,"kind":"observation","product":0,"observations":[4],"reason":"panic"`
		if !strings.Contains(e.log.String(), logged) {
			t.Errorf("the log does not say who dismissed it:\n%s", e.log)
		}
	})
}

// TestDismissedExceptionIsNotClaimed: the next equal one is notified, for the dismissed one never was; without Redis
// nothing is dismissed.
func TestDismissedExceptionIsNotClaimed(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		x := &dbmodel.Exception{Type: rule.TypeException, Class: "E", Fingerprint: "f"}
		event := dbmodel.NewEvent{Kind: dbmodel.KindException, Payload: dbmodel.EventPayload{Exception: x}}
		if _, err := dbmodel.InsertEvent(t.Context(), e.db, event); err != nil {
			t.Fatal(err)
		}
		e.exec("UPDATE outbox SET failed_at = ?, reason = 'panic' WHERE id = 1", time.Now())
		key := e.vault.ExceptionKey("f")
		if holder, err := e.queue.Claim(t.Context(), key, 1, time.Hour); err != nil || holder != 1 {
			t.Fatal(holder, err)
		}
		e.redis.SetError("away")
		e.want(503, "DELETE", "/api/v1/failed-events/1", nil)
		e.redis.SetError("")
		e.want(204, "DELETE", "/api/v1/failed-events/1", nil)
		e.redis.FastForward(time.Second)
		if holder, err := e.queue.Claim(t.Context(), key, 2, time.Hour); err != nil || holder != 2 {
			t.Errorf("the claim is that of event %d (%v)", holder, err)
		}
	})
}

func TestPeriodicTasks(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		slot := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
		for i := range 3 {
			id, err := dbmodel.AddSlot(t.Context(), e.db, dbmodel.PeriodicCleanup, slot.Add(time.Duration(i)*24*time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if i == 2 {
				continue
			}
			run, err := dbmodel.ClaimRun(t.Context(), e.db, id)
			if err == nil && i == 0 {
				_, err = dbmodel.EndRun(t.Context(), e.db, run, dbmodel.RunSucceeded, "deleted 12,345 notifications")
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		r := e.want(200, "GET", "/api/v1/periodic-tasks", nil)
		items := r.json["items"].([]any)
		var got []any
		for _, i := range items {
			got = append(got, i.(map[string]any)["status"])
		}
		if fmt.Sprint(got) != "[pending running succeeded]" {
			t.Errorf("%s", r.text)
		}
		done := items[2].(map[string]any)
		if done["task"] != "cleanup" || done["slot"] != "2026-03-01T03:00:00Z" || done["message"] != "deleted 12,345 notifications" || done["duration_ms"] == nil || done["started_at"] == nil {
			t.Errorf("%v", done)
		}
	})
}
