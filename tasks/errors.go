package tasks

import (
	"errors"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
)

// ErrNotFound is what errors.Is finds where the product of a security gate, or the observation to evaluate, does not
// exist.
var ErrNotFound = dbmodel.ErrNotFound

// FieldError says what is wrong with one field of an event.
type FieldError struct {
	Field   string // as in JSON: "severity", "observations[3].title"
	Message string // what the field must be, or what is wrong with it
}

// InvalidError refuses an event and lists all that is wrong with it, up to about a hundred faults.
type InvalidError []FieldError

// Error names all faults.
func (e InvalidError) Error() string {
	faults := make(accept.InvalidError, len(e))
	for i, f := range e {
		faults[i] = accept.FieldError(f)
	}
	return faults.Error()
}

// publicError returns an InvalidError of this package for one of accept, and any other error as it is. An alias would
// need no conversion, but go doc shows nothing of a type in an internal package.
func publicError(err error) error {
	refused, ok := errors.AsType[accept.InvalidError](err)
	if !ok {
		return err
	}
	faults := make(InvalidError, len(refused))
	for i, f := range refused {
		faults[i] = FieldError(f)
	}
	return faults
}
