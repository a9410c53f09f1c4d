package input

import (
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/internal/accept"
)

// ExceptionFields and TaskExceptionFields are the fields that ReadException knows of an exception in a request, and of one
// in a background task.
var (
	ExceptionFields     = []string{"class", "message", "trace", "user", "function", "fingerprint"}
	TaskExceptionFields = append(slices.Clone(ExceptionFields), "arguments", "product_id", "observation_id")
)

// ReadException reads the body of an exception with the known fields. It refuses broken JSON, unknown fields and a missing
// class alone: a program that reports a fault may be faulty itself, so values of other types are taken as text.
func ReadException(body io.Reader, known []string) (*accept.TaskExceptionInfo, error) {
	dec := jsontext.NewDecoder(body, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	e := new(accept.TaskExceptionInfo)
	var faults Faults
	err := readObject(dec, func(name string) error {
		value, err := dec.ReadValue()
		switch {
		case err != nil:
			return err
		case !slices.Contains(known, name):
			faults.Add(ShownName(name), "is not a field of this call")
		default:
			setException(e, name, value)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(e.Class) == "" {
		faults.Add("class", "is required")
	}
	return e, faults.Err()
}

// setException sets one field; a value of another type becomes text, or is left out.
func setException(e *accept.TaskExceptionInfo, name string, value jsontext.Value) {
	switch name {
	case "class":
		e.Class = anyText(value)
	case "message":
		e.Message = anyText(value)
	case "trace":
		e.Trace = anyText(value)
	case "user":
		e.User = anyText(value)
	case "function":
		e.Function = anyText(value)
	case "fingerprint":
		e.Fingerprint = anyText(value)
	case "product_id":
		e.ProductID = anyID(value)
	case "observation_id":
		e.ObservationID = anyID(value)
	case "arguments":
		e.Arguments = anyArguments(value)
	}
}

// anyText is a JSON value as text: a string's content, nothing for null, else the JSON itself.
func anyText(v jsontext.Value) string {
	if v.Kind() == 'n' {
		return ""
	}
	var s string
	if v.Kind() == '"' && json.Unmarshal(v, &s) == nil { // it puts U+FFFD for what is no UTF-8
		return s
	}
	return string(v)
}

// anyID is a whole number, also within quotes; 0 for anything else.
func anyID(v jsontext.Value) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(anyText(v)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// anyArguments is an object with its numbers as they are written; another value becomes one. An object within quotes is
// read as one, so that its secrets are masked.
func anyArguments(v jsontext.Value) map[string]any {
	if v.Kind() == 'n' {
		return nil
	}
	inner := jsontext.Value(strings.TrimSpace(anyText(v)))
	if v.Kind() == '"' && inner.Kind() == '{' &&
		inner.IsValid(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) {
		v = inner
	}
	d := json.NewDecoder(strings.NewReader(string(v)))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return map[string]any{"arguments": string(v)}
	}
	if object, ok := value.(map[string]any); ok {
		return object
	}
	return map[string]any{"arguments": value}
}
