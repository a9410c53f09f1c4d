package message

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// Shown is a notification as JSON shows it. Signed webhooks get it as it is; in answers of the HTTP interface it
// stands together with the fields that only the inbox has.
type Shown struct {
	ID          int64            `json:"id"`
	Type        rule.Type        `json:"type"`
	Event       *rule.Event      `json:"event" nullable:"true"`
	Name        string           `json:"name"`
	Message     string           `json:"message"`
	Product     *Product         `json:"product"`
	Observation *Observation     `json:"observation"`
	Before      State            `json:"before"`
	After       State            `json:"after"`
	Facts       *dbmodel.Details `json:"facts"` // as they were then; nil where there are no values after it
	User        string           `json:"user"`
	Function    string           `json:"function"`
	Arguments   json.RawMessage  `json:"arguments"`
	Trace       string           `json:"trace"`
	Suppressed  int              `json:"suppressed" doc:"Equal exceptions that were suppressed before this one"`
	CreatedAt   time.Time        `json:"created_at"`
}

// Product is the product of a notification, with the name that it had then.
type Product struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// Observation is the observation of a notification, with the title that it had then.
type Observation struct {
	ID    int64  `json:"id"`
	Title string `json:"title"`
}

// Show returns n as JSON shows it.
func Show(n *dbmodel.Notification) Shown {
	out := Shown{
		ID: n.ID, Type: n.Type, Name: n.Name, Message: n.Message, Before: Before(n), After: After(n),
		User: n.Username, Function: n.Function, Arguments: n.Arguments, Trace: n.Trace, Suppressed: n.Suppressed,
		CreatedAt: n.CreatedAt.UTC(),
	}
	if n.Event != rule.NoEvent {
		out.Event = &n.Event
	}
	if n.ProductID != nil {
		out.Product = &Product{*n.ProductID, n.Facts.ProductName}
	}
	if n.ObservationID != nil {
		out.Observation = &Observation{*n.ObservationID, n.Facts.ObservationTitle}
	}
	if n.After() != nil {
		out.Facts = &n.Facts.Details
	}
	return out
}

// Data returns n as signed webhooks get it.
func Data(n *dbmodel.Notification) json.RawMessage {
	b, err := json.Marshal(Show(n))
	if err != nil {
		panic(fmt.Sprintf("message: data: %v", err)) // it has texts, numbers, and arguments, which are valid JSON
	}
	return b
}
