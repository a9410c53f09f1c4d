// Package input reads what callers send and checks it: JSON bodies and forms into fields, observations as JSON and as
// lines, exceptions. It knows neither requests nor answers: what is wrong comes back as Faults, as a *SyntaxError or
// as a *LineError, and none of them repeats a value, which may be a secret.
package input

import (
	"fmt"
	"slices"
	"strings"
)

// MaxFaults is how many faults one answer names.
const MaxFaults = 100

// Fault is what is wrong with one field. It never repeats the value.
type Fault struct {
	Location string `json:"location" doc:"The field: name, observations[3].severity; of the address: path.id, query.limit"`
	Message  string `json:"message" doc:"What it must be"`
}

// Faults are all that is wrong with one input. As an error they say that nothing of it is taken.
type Faults []Fault

// Error implements error.
func (l Faults) Error() string {
	if len(l) == 1 {
		return strings.TrimSpace(l[0].Location + " " + l[0].Message)
	}
	return fmt.Sprintf("%d faults", len(l))
}

// Err returns the faults as an error, nil where there are none.
func (l Faults) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}

// Full reports whether no more faults are collected.
func (l *Faults) Full() bool { return len(*l) >= MaxFaults }

// Add adds a fault, up to MaxFaults.
func (l *Faults) Add(location, message string) {
	if !l.Full() {
		*l = append(*l, Fault{Location: location, Message: message})
	}
}

// AddOnce adds a fault of a field that has none yet.
func (l *Faults) AddOnce(location, message string) {
	if !slices.ContainsFunc(*l, func(f Fault) bool { return f.Location == location }) {
		l.Add(location, message)
	}
}

// ShownName returns the name of an unknown field as a fault may show it. The caller chooses names, and a URL that
// stands in the wrong place must not come back.
func ShownName(name string) string {
	const longest = 60
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '$'
	}
	if name == "" || len(name) > longest || strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return "(a name that is not shown)"
	}
	return name
}
