package accept

import "strings"

// FieldError says what is wrong with one field of an event.
type FieldError struct {
	Field   string // as in JSON: "severity", "observations[3].title"
	Message string // what the field must be, or what is wrong with it
}

// InvalidError refuses an event and lists what is wrong with it, up to about a hundred faults.
type InvalidError []FieldError

func (e InvalidError) Error() string {
	faults := make([]string, len(e))
	for i, f := range e {
		faults[i] = f.Field + ": " + f.Message
	}
	if len(faults) == 0 {
		return "the event is not valid"
	}
	return strings.Join(faults, "; ")
}
