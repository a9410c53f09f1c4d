package message

import (
	"encoding/json"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// State is how before and after stand in the JSON of a notification: {"passed"} of a security gate, the values of an
// observation or title, else null.
type State struct {
	Values *rule.Values
	Gate   rule.Event // the event that leads to this state of a security gate; else empty
}

// Before is the state before n of the observation, title or gate that n is about.
func Before(n *dbmodel.Notification) State { return stateOf(n, n.Before(), n.Facts.GateBefore) }

// After is the state after n of the observation, title or gate that n is about.
func After(n *dbmodel.Notification) State { return stateOf(n, n.After(), n.Event) }

func stateOf(n *dbmodel.Notification, values *rule.Values, gate rule.Event) State {
	if n.Type != rule.TypeSecurityGate {
		return State{Values: values}
	}
	return State{Gate: gate}
}

// MarshalJSON implements json.Marshaler.
func (s State) MarshalJSON() ([]byte, error) {
	if s.Gate != "" {
		return json.Marshal(struct {
			Passed *bool `json:"passed"`
		}{s.Gate.Passed()})
	}
	return json.Marshal(s.Values)
}
