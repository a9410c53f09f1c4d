package web_test

import (
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/client"
)

// TestGoClient reports with the Go client, and reads what came of it.
func TestGoClient(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		ctx := t.Context()
		c := &client.Client{Base: e.server.URL, Token: adminToken, HTTP: e.client}
		for id := range int64(3) {
			p, err := c.PutProduct(ctx, id+1, client.ProductFields{
				Name: new("Payments"), ObservationNotificationMinSeverity: new(client.OptionalSeverityHigh),
				ObservationNotificationStatuses: &[]client.ObservationStatus{client.ObservationStatusOpen},
			})
			if err != nil || p.ID != id+1 || p.ObservationNotificationMinSeverity != client.OptionalSeverityHigh {
				t.Fatalf("%+v %v", p, err)
			}
		}
		if _, err := c.PutUser(ctx, "alex", client.UserFields{Email: new("alex@example.com")}); err != nil {
			t.Fatal(err)
		}
		if err := c.PutProductMember(ctx, 1, "alex", client.RoleMaintainer); err != nil {
			t.Fatal(err)
		}
		reported := []client.ObservationBody{
			{ID: 1, ProductID: 1, Title: "CVE-2026-1", Severity: client.SeverityHigh, Status: client.ObservationStatusOpen, ParserType: client.ParserTypeSCA, Origin: &client.Origin{Component: "openssl"}},
			{ID: 2, ProductID: 2, Title: "CVE-2026-2", Severity: client.SeverityLow, Status: client.ObservationStatusInReview, ParserType: client.ParserTypeSCA, Priority: new(int64(7)), Origin: &client.Origin{Text: "main.go"}},
		}
		got, err := c.PostObservations(ctx, reported...)
		if err != nil || got != (client.Accepted{Received: 2, Changed: 2}) {
			t.Fatalf("%+v %v", got, err)
		}
		var stored []client.Observation
		for o, err := range c.Observations(ctx, client.ListObservationsParams{Limit: new(int64(1))}) {
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, o)
		}
		if len(stored) != 2 || !cmp.Equal(stored[0].Origin, reported[0].Origin) || !cmp.Equal(stored[1].Origin, reported[1].Origin) || *stored[1].Priority != 7 {
			t.Errorf("%+v", stored)
		}
		broken := func(yield func(client.ObservationBody) bool) {
			_ = yield(reported[0]) && yield(client.ObservationBody{ID: 5})
		}
		_, err = c.ImportObservations(ctx, broken, false)
		refused, ok := errors.AsType[*client.Error](err)
		if !ok || !client.IsStatus(err, 422) || refused.Problem.Line == nil || *refused.Problem.Line != 2 || *refused.Problem.Stored != 1 {
			t.Errorf("%v", err)
		}
		if changed, err := c.PutSecurityGate(ctx, 1, new(false)); err != nil || !changed {
			t.Errorf("%v %v", changed, err)
		}
		if err := c.PostException(ctx, client.ExceptionBody{Class: "ValueError"}); err != nil {
			t.Error(err)
		}
		if _, err := c.PatchSettings(ctx, client.SettingsFields{EmailFrom: new("tocsin@example.com")}); err != nil {
			t.Error(err)
		}
		if s, err := c.Status(ctx); err != nil || s.Outbox != 3 {
			t.Errorf("%+v %v", s, err)
		}
		if x, err := c.Explain(ctx, 1); err != nil || !x.Matches {
			t.Errorf("%+v %v", x, err)
		}
		if _, err := c.Product(ctx, 9); !client.IsStatus(err, 404) {
			t.Errorf("%v", err)
		}
		counts := 0
		for n, err := range c.Unread(ctx) {
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || n != 0 {
				t.Fatalf("%d %v", n, err)
			}
			counts++
			close(e.stopping)
		}
		if counts != 1 {
			t.Errorf("%d counts", counts)
		}
	})
}
