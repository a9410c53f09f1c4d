package input

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// SyntaxError says that JSON is broken, or could not be read to its end.
type SyntaxError struct {
	Reason string
	Offset int64 // of the byte
	Err    error // the cause, which may be an error of the reader
}

// Error implements error.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("broken JSON: %s, at byte %d", e.Reason, e.Offset)
}

// Unwrap returns the cause.
func (e *SyntaxError) Unwrap() error { return e.Err }

// errNoObject is the fault of a body that is JSON, but no object.
var errNoObject = Faults{{Message: "must be a JSON object"}}

// readObject reads the JSON object that is the whole of a body. member reads the value of each name; an error of dec
// becomes a *SyntaxError, an error of another kind ends the reading and is returned as it is.
func readObject(dec *jsontext.Decoder, member func(name string) error) error {
	if dec.PeekKind() != '{' {
		if err := dec.SkipValue(); err != nil {
			return syntaxError(err, dec)
		}
		if err := atEnd(dec); err != nil {
			return err
		}
		return errNoObject
	}
	if _, err := dec.ReadToken(); err != nil {
		return syntaxError(err, dec)
	}
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return syntaxError(err, dec)
		}
		if err := member(token.String()); errors.Is(err, errTooMany) {
			return err
		} else if err != nil {
			return syntaxError(err, dec)
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return syntaxError(err, dec)
	}
	return atEnd(dec)
}

// atEnd returns a *SyntaxError where something comes after the value of a body.
func atEnd(dec *jsontext.Decoder) error {
	switch _, err := dec.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return syntaxError(err, dec)
	}
	return &SyntaxError{Reason: "something comes after its end", Offset: dec.InputOffset()}
}

// syntaxError says in words what is wrong with JSON, and at which byte. It leaves names and values out.
func syntaxError(err error, dec *jsontext.Decoder) *SyntaxError {
	out := &SyntaxError{Reason: "it is no valid JSON", Offset: dec.InputOffset(), Err: err}
	var s *jsontext.SyntacticError
	if errors.As(err, &s) {
		out.Offset, err = s.ByteOffset, s.Err
	}
	switch {
	case errors.Is(err, io.EOF) && out.Offset == 0:
		out.Reason = "there is none"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		out.Reason = "it ends too early"
	case errors.Is(err, jsontext.ErrDuplicateName):
		out.Reason = "a name comes twice in an object"
	case s != nil && err != nil && !strings.ContainsAny(err.Error(), `"`): // it quotes what it found with '
		out.Reason = err.Error()
	}
	return out
}
