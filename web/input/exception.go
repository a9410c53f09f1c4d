package input

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/internal/accept"
)

// ReadException reads the body of an exception in a request. It refuses broken JSON, unknown fields and a missing class
// alone: a program that reports a fault may be faulty itself, so values of other types are taken as text.
func ReadException(body io.Reader) (*accept.TaskExceptionInfo, error) {
	e := new(accept.TaskExceptionInfo)
	return e, readException(body, e, exceptionFields(e))
}

// ReadTaskException is ReadException for an exception in a background task.
func ReadTaskException(body io.Reader) (*accept.TaskExceptionInfo, error) {
	e := new(accept.TaskExceptionInfo)
	return e, readException(body, e, taskExceptionFields(e))
}

// exceptionFields are the fields of an exception in a request by their names in JSON.
func exceptionFields(e *accept.TaskExceptionInfo) map[string]any {
	return map[string]any{
		"class": &e.Class, "message": &e.Message, "trace": &e.Trace, "user": &e.User, "function": &e.Function,
		"fingerprint": &e.Fingerprint,
	}
}

// taskExceptionFields are the fields of an exception in a background task.
func taskExceptionFields(e *accept.TaskExceptionInfo) map[string]any {
	fields := exceptionFields(e)
	fields["arguments"], fields["product_id"], fields["observation_id"] = &e.Arguments, &e.ProductID, &e.ObservationID
	return fields
}

func readException(body io.Reader, e *accept.TaskExceptionInfo, fields map[string]any) error {
	dec := jsontext.NewDecoder(&cutStrings{in: body}, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	var faults Faults
	err := readObject(dec, func(name string) error {
		value, err := readPart(dec)
		if err != nil {
			return err
		}
		switch to := fields[name].(type) {
		case *string:
			*to = anyText(value)
		case *int64:
			*to = anyID(value)
		case *map[string]any:
			*to = anyArguments(value)
		default:
			faults.Add(ShownName(name), "is not a field of this call")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if strings.TrimSpace(e.Class) == "" {
		faults.Add("class", "is required")
	}
	return faults.Err()
}

// readPart reads the next value and returns it without spaces; of an object or a list with more than maxString bytes
// these alone. The rest is read and forgotten, not held.
func readPart(dec *jsontext.Decoder) (jsontext.Value, error) {
	if kind := dec.PeekKind(); kind != '{' && kind != '[' {
		return dec.ReadValue() // cutStrings bounds it
	}
	var part beginning
	enc := jsontext.NewEncoder(&part, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	for depth := dec.StackDepth(); ; {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		if len(part) < maxString {
			if err := enc.WriteToken(token); err != nil {
				return nil, err
			}
		}
		if dec.StackDepth() == depth {
			return jsontext.Value(bytes.TrimSuffix(part, []byte{'\n'})), nil
		}
	}
}

// beginning is the first maxString bytes of what is written.
type beginning []byte

// Write implements io.Writer.
func (b *beginning) Write(p []byte) (int, error) {
	*b = append(*b, p[:min(len(p), maxString-len(*b))]...)
	return len(p), nil
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
	return string(v[:min(len(v), maxString)])
}

// anyID is a whole number, also within quotes; 0 for anything else.
func anyID(v jsontext.Value) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(anyText(v)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// maxArguments is how many bytes of arguments are decoded: as values they take many times as much memory, and at most
// 64 KiB of them are kept.
const maxArguments = 256 << 10

// anyArguments is an object with its numbers as they are written; another value becomes one. An object within quotes is
// read as one, so that its secrets are masked. What is longer than maxArguments is left out, for its secrets are not
// known.
func anyArguments(v jsontext.Value) map[string]any {
	switch {
	case v.Kind() == 'n':
		return nil
	case len(v) > maxArguments:
		return map[string]any{"…": "left out: the arguments had more than 256 KiB"}
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
