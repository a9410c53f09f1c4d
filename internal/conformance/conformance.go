// Package conformance holds recorded sequences of events with what must be notified, and to whom. The rules are
// tested with them, and the whole product over each of its databases.
package conformance

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
)

//go:embed cases.jsonl
var cases []byte

// WebhookHost is what webhooks of the cases begin with; a test puts its receiver's address there.
const WebhookHost = "http://127.0.0.1:9999"

// Case is a sequence of events, and the settings under which they happen. Settings, groups and products are as the
// API takes them.
type Case struct {
	Number        int             `json:"case"`
	Settings      json.RawMessage `json:"settings"`
	ProductGroups []Place         `json:"product_groups"`
	Products      []Place         `json:"products"`
	Steps         []Step          `json:"steps"`
}

// Place is a product or a product group.
type Place struct {
	ID             int64
	Name           string
	ProductGroupID *int64
	JSON           json.RawMessage // all of it
}

// UnmarshalJSON reads a product or a product group.
func (p *Place) UnmarshalJSON(b []byte) error {
	var place struct {
		ID             int64  `json:"id"`
		Name           string `json:"name"`
		ProductGroupID *int64 `json:"product_group_id"`
	}
	err := json.Unmarshal(b, &place)
	*p = Place{place.ID, place.Name, place.ProductGroupID, bytes.Clone(b)}
	return err
}

// Step is one event, and what must come of it before the next one happens.
type Step struct {
	Op          string               `json:"op"` // "observation" or "security_gate"
	Observation *dbmodel.Observation `json:"observation"`
	ProductID   int64                `json:"product_id"`
	Passed      *bool                `json:"passed"`
	Expect      Expect               `json:"expect"`
}

// Expect is what must be stored and sent; the order does not matter.
type Expect struct {
	Notifications []Notification `json:"notifications"`
	Deliveries    []Delivery     `json:"deliveries"`
}

// Notification is what must be stored.
type Notification struct {
	Type          string `json:"type"`
	Event         string `json:"event"`
	ProductID     *int64 `json:"product_id"`
	ObservationID *int64 `json:"observation_id"`
}

// Delivery is what must be sent.
type Delivery struct {
	Notification string `json:"notification"` // the type of the notification
	Channel      string `json:"channel"`
	Target       string `json:"target"`
}

// Cases returns all cases.
func Cases(t testing.TB) []Case {
	t.Helper()
	var out []Case
	for line := range bytes.Lines(cases) {
		var c Case
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("read the cases: %v", err)
		}
		out = append(out, c)
	}
	if len(out) != 100 {
		t.Fatalf("%d cases, want 100", len(out))
	}
	return out
}
