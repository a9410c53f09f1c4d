package message

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// data is a notification as signed webhooks get it: as the HTTP interface answers it, without what only its inbox
// knows.
type data struct {
	ID          int64           `json:"id"`
	Type        rule.Type       `json:"type"`
	Event       *rule.Event     `json:"event"`
	Name        string          `json:"name"`
	Message     string          `json:"message"`
	Product     *named          `json:"product"`
	Observation *titled         `json:"observation"`
	Before      State           `json:"before"`
	After       State           `json:"after"`
	Facts       *dataFacts      `json:"facts"`
	User        string          `json:"user"`
	Function    string          `json:"function"`
	Arguments   json.RawMessage `json:"arguments"`
	Trace       string          `json:"trace"`
	Suppressed  int             `json:"suppressed"`
	CreatedAt   time.Time       `json:"created_at"`
}

type named struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

type titled struct {
	ID    int64  `json:"id"`
	Title string `json:"title"`
}

// dataFacts are the optional fields of an observation as they were then.
type dataFacts struct {
	VulnerabilityID string         `json:"vulnerability_id"`
	CVSSScore       *float64       `json:"cvss_score"`
	Origin          dbmodel.Origin `json:"origin"`
	URL             string         `json:"url"`
	KnownExploited  *bool          `json:"known_exploited"`
	EPSSScore       *float64       `json:"epss_score"`
	FixedVersion    string         `json:"fixed_version"`
	Branch          string         `json:"branch"`
	Service         string         `json:"service"`
	Scanner         string         `json:"scanner"`
}

// Data returns n as signed webhooks get it.
func Data(n *dbmodel.Notification) json.RawMessage {
	d := data{
		ID: n.ID, Type: n.Type, Name: n.Name, Message: n.Message, Before: Before(n), After: After(n),
		User: n.Username, Function: n.Function, Arguments: n.Arguments, Trace: n.Trace, Suppressed: n.Suppressed,
		CreatedAt: n.CreatedAt.UTC(),
	}
	if n.Event != rule.NoEvent {
		d.Event = &n.Event
	}
	if n.ProductID != nil {
		d.Product = &named{*n.ProductID, n.Facts.ProductName}
	}
	if n.ObservationID != nil {
		d.Observation = &titled{*n.ObservationID, n.Facts.ObservationTitle}
	}
	if f := &n.Facts; n.After() != nil {
		d.Facts = &dataFacts{
			VulnerabilityID: f.VulnerabilityID, CVSSScore: f.CVSSScore, Origin: f.Origin, URL: f.URL,
			KnownExploited: f.KnownExploited, EPSSScore: f.EPSSScore, FixedVersion: f.FixedVersion, Branch: f.Branch,
			Service: f.Service, Scanner: f.Scanner,
		}
	}
	b, err := json.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("message: data: %v", err)) // texts, numbers, and arguments, which are valid JSON
	}
	return b
}
