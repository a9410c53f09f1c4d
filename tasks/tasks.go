// Package tasks is how an event comes into Tocsin: the typed events with their validation, and Accept. It evaluates nothing
// and sends nothing, and brings neither a database driver nor an HTTP client.
package tasks

import "fmt"

// FieldError says what is wrong with one field of what the web tier told.
type FieldError struct {
	Field   string // as in JSON: "severity", "observations[3].title"
	Message string // what it must be
}

// InvalidError is an event that is refused, with all that is wrong with it.
type InvalidError []FieldError

func (e InvalidError) Error() string {
	return fmt.Sprintf("%s: %s", e[0].Field, e[0].Message)
}
