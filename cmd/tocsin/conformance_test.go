package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/conformance"
	"github.com/seed91453169/tocsin/internal/testenv"
)

func TestConformanceOfRoles(t *testing.T) {
	t.Parallel()
	url := testenv.PostgresURL(t, testenv.MigrateSchema)
	conform(t, newRoles(t, url, testenv.Redis(t).URL()), open(t, url))
}

func TestConformanceOfServe(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	d := serveFrom(t, folder)
	conform(t, d, open(t, "sqlite://"+filepath.Join(folder, "tocsin.db")))
}

// offset keeps the ids of cases apart.
const offset = 1000

// conform runs all cases, one after the other: they share the settings. Thousands of times it waits and looks for what is
// new: the database itself answers that with the least work.
func conform(t *testing.T, d *deployment, db *dbmodel.DB) {
	t.Helper()
	idle := func() error {
		c, err := dbmodel.Count(t.Context(), db.Reader)
		if err == nil && c.Outbox+c.PendingDeliveries > 0 {
			err = fmt.Errorf("left: %+v", c)
		}
		return err
	}
	last := int64(0)
	for _, c := range conformance.Cases(t) {
		shift := int64(c.Number+1) * offset
		here := func(raw json.RawMessage) object {
			var o object
			text := strings.ReplaceAll(string(raw), conformance.WebhookHost, d.network.URL)
			if err := json.Unmarshal([]byte(text), &o); err != nil {
				t.Fatal(err)
			}
			return o
		}
		d.call(http.MethodPatch, "/api/v1/settings", here(c.Settings), nil)
		put := func(path string, p conformance.Place) {
			o := here(p.JSON)
			delete(o, "id")
			if p.ProductGroupID != nil {
				o["product_group_id"] = *p.ProductGroupID + shift
			}
			d.call(http.MethodPut, fmt.Sprintf("/api/v1/%s/%d", path, p.ID+shift), o, nil)
		}
		for _, g := range c.ProductGroups {
			put("product-groups", g)
		}
		for _, p := range c.Products {
			put("products", p)
		}
		for i, s := range c.Steps {
			switch s.Op {
			case "security_gate":
				d.call(http.MethodPut, fmt.Sprintf("/api/v1/products/%d/security-gate", s.ProductID+shift), object{"passed": s.Passed}, nil)
			case "observation":
				o := s.Observation
				d.call(http.MethodPost, "/api/v1/observations", object{"observations": []object{{
					"id": o.ID + shift, "product_id": o.ProductID + shift, "title": fmt.Sprintf("%d %s", c.Number, o.Title),
					"severity": o.Severity, "status": o.Status, "priority": o.Priority, "parser_type": o.ParserType,
				}}}, nil)
			}
			testenv.Eventually(t, 20*time.Second, idle, "not idle")
			want := facts(s.Expect, d.network.URL)
			var newest int64
			if err := db.Reader.QueryRowContext(t.Context(), "SELECT coalesce(max(id), 0) FROM notifications").Scan(&newest); err != nil {
				t.Fatal(err)
			}
			var stored []storedNotification
			if newest > last {
				stored, last = d.since(last)
			}
			var got conformance.Expect
			for _, n := range stored {
				e := conformance.Notification{Type: n.Type, Event: n.Event}
				if n.Product != nil {
					e.ProductID = less(n.Product.ID, shift)
				}
				if n.Observation != nil {
					e.ObservationID = less(n.Observation.ID, shift)
				}
				got.Notifications = append(got.Notifications, e)
				for _, x := range n.Deliveries {
					if x.State != "sent" {
						t.Errorf("case %d step %d: %+v", c.Number, i, x)
					}
					got.Deliveries = append(got.Deliveries, conformance.Delivery{Notification: n.Type, Channel: x.Channel, Target: x.Target})
				}
			}
			if diff := cmp.Diff(want, facts(got, "")); diff != "" {
				t.Fatalf("case %d step %d: stored (-want +got):\n%s", c.Number, i, diff)
			}
			var wantSent, sent []string
			for _, x := range s.Expect.Deliveries {
				wantSent = append(wantSent, x.Channel+" "+strings.ReplaceAll(x.Target, conformance.WebhookHost, d.network.URL))
			}
			for _, m := range d.network.take() {
				sent = append(sent, m.Channel+" "+m.Target)
			}
			slices.Sort(wantSent)
			slices.Sort(sent)
			if diff := cmp.Diff(wantSent, sent); diff != "" {
				t.Fatalf("case %d step %d: received (-want +got):\n%s", c.Number, i, diff)
			}
		}
	}
}

// facts are notifications and deliveries as sorted texts. Webhooks of the cases, which are at host, become as they are shown.
func facts(e conformance.Expect, host string) []string {
	var out []string
	for _, n := range e.Notifications {
		b, _ := json.Marshal(n)
		out = append(out, string(b))
	}
	for _, x := range e.Deliveries {
		if host != "" && x.Channel != "email" {
			x.Target = channel.RedactURL(strings.ReplaceAll(x.Target, conformance.WebhookHost, host))
		}
		b, _ := json.Marshal(x)
		out = append(out, string(b))
	}
	slices.Sort(out)
	return out
}

func less(id, shift int64) *int64 {
	id -= shift
	return &id
}

type storedNotification struct {
	ID          int64
	Type, Event string
	Name        string
	Product     *struct{ ID int64 }
	Observation *struct{ ID int64 }
	Deliveries  []struct {
		Channel, Target, State string
		Attempts               int
		LastError              string `json:"last_error"`
	}
}

// since returns up to five notifications with an id above last, and the highest id: no step makes more than two.
func (d *deployment) since(last int64) ([]storedNotification, int64) {
	d.t.Helper()
	var page struct{ Items []storedNotification }
	d.call(http.MethodGet, "/api/v1/notifications?limit=5", nil, &page)
	var out []storedNotification
	highest := last
	for _, n := range page.Items {
		if n.ID > last {
			out = append(out, n)
			highest = max(highest, n.ID)
		}
	}
	return out, highest
}
