package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/tasks"
)

// ExceptionBody documents the body of an exception. It is read by readException: whoever reports that something broke may
// be broken, so values of other types are taken as good as they can be.
type ExceptionBody struct {
	Class       string `json:"class" doc:"Of the exception; the only field that is required" minLength:"1"`
	Message     string `json:"message,omitempty" nullable:"true"`
	Trace       string `json:"trace,omitempty" nullable:"true"`
	User        string `json:"user,omitempty" nullable:"true" doc:"Who made the request; unknown users are left out"`
	Function    string `json:"function,omitempty" nullable:"true" doc:"Method and route"`
	Fingerprint string `json:"fingerprint,omitempty" nullable:"true" doc:"Replaces message and arguments in deciding what the same exception is"`
}

// taskExceptionBody documents the body of an exception in a background task.
type taskExceptionBody struct {
	ExceptionBody
	Arguments     map[string]any `json:"arguments,omitempty" doc:"Of the task; what looks like a secret is stored as ***"`
	ProductID     *int64         `json:"product_id,omitempty" nullable:"true" doc:"Default: that of the observation"`
	ObservationID *int64         `json:"observation_id,omitempty" nullable:"true"`
}

// TransformSchema implements huma.SchemaTransformer: huma takes no tag that an object may be null.
func (taskExceptionBody) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["arguments"].Nullable = true
	return s
}

var (
	exceptionFields     = []string{"class", "message", "trace", "user", "function", "fingerprint"}
	taskExceptionFields = append(slices.Clone(exceptionFields), "arguments", "product_id", "observation_id")
)

func (s *server) exceptionRoutes() {
	const tag = "Exceptions"
	route(s, call{
		method: http.MethodPost, path: "/exceptions", id: "postException", tag: tag, access: ingesters, status: http.StatusAccepted,
		summary: "Tell of an exception in a request", body: ExceptionBody{},
	}, s.apiPostException)
	route(s, call{
		method: http.MethodPost, path: "/task-exceptions", id: "postTaskException", tag: tag, access: ingesters, status: http.StatusAccepted,
		summary: "Tell of an exception in a background task", body: taskExceptionBody{},
	}, s.apiPostTaskException)
}

func (s *server) apiPostException(ctx context.Context, _ *struct{}) (*struct{}, error) {
	e, err := readException(ctx, exceptionFields)
	if err != nil {
		return nil, err
	}
	t, err := tasks.NewException(e.ExceptionInfo)
	return nil, s.accept(ctx, t, err)
}

func (s *server) apiPostTaskException(ctx context.Context, _ *struct{}) (*struct{}, error) {
	e, err := readException(ctx, taskExceptionFields)
	if err != nil {
		return nil, err
	}
	t, err := tasks.NewTaskException(*e)
	return nil, s.accept(ctx, t, err)
}

// accept accepts a task that a constructor has just made.
func (s *server) accept(ctx context.Context, t *tasks.Task, err error) error {
	if err == nil {
		_, err = s.acceptor.Accept(ctx, t)
	}
	return err
}

// readException reads the body of an exception. Only broken JSON and unknown fields are refused here.
func readException(ctx context.Context, known []string) (*tasks.TaskExceptionInfo, error) {
	r := exchangeOf(ctx).r
	if !isJSON(mediaType(r)) {
		return nil, wrongMediaType("application/json")
	}
	dec := jsontext.NewDecoder(r.Body, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	if dec.PeekKind() != '{' {
		return nil, notAnObject(dec)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, brokenJSON(err, dec)
	}
	e := new(tasks.TaskExceptionInfo)
	var faults faultList
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, brokenJSON(err, dec)
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, brokenJSON(err, dec)
		}
		if !slices.Contains(known, name) {
			faults.add(faultyName(name), "is not a field of this call")
			continue
		}
		setException(e, name, value)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, brokenJSON(err, dec)
	}
	if err := atEnd(dec); err != nil {
		return nil, err
	}
	if strings.TrimSpace(e.Class) == "" {
		faults.add("class", "is required")
	}
	if faults != nil {
		return nil, invalid(faults...)
	}
	return e, nil
}

// setException sets one field; a value of another type is taken as text, or left out.
func setException(e *tasks.TaskExceptionInfo, name string, value jsontext.Value) {
	switch name {
	case "class":
		e.Class = textOf(value)
	case "message":
		e.Message = textOf(value)
	case "trace":
		e.Trace = textOf(value)
	case "user":
		e.User = textOf(value)
	case "function":
		e.Function = textOf(value)
	case "fingerprint":
		e.Fingerprint = textOf(value)
	case "product_id":
		e.ProductID = idOf(value)
	case "observation_id":
		e.ObservationID = idOf(value)
	case "arguments":
		e.Arguments = argumentsOf(value)
	}
}

// textOf is a JSON value as text: a string's content, nothing for null, else the JSON itself.
func textOf(v jsontext.Value) string {
	if v.Kind() == 'n' {
		return ""
	}
	var s string
	if v.Kind() == '"' && json.Unmarshal(v, &s) == nil { // it puts U+FFFD for what is no UTF-8
		return s
	}
	return string(v)
}

// idOf is a whole number, also within quotes; 0 for anything else.
func idOf(v jsontext.Value) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(textOf(v)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// argumentsOf is an object with its numbers as they are written; what is none becomes one. An object within quotes is read as
// one, so that its secrets are masked.
func argumentsOf(v jsontext.Value) map[string]any {
	if v.Kind() == 'n' {
		return nil
	}
	if inner := jsontext.Value(strings.TrimSpace(textOf(v))); v.Kind() == '"' && inner.Kind() == '{' && inner.IsValid(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) {
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

// ownTime bounds how long an answer waits until a fault of ours is stored.
const ownTime = 2 * time.Second

// tellOwn makes a fault in a request to Tocsin itself an exception.
func (s *server) tellOwn(x *exchange, class, message, trace string) {
	if s.acceptor == nil {
		return // the health of a worker
	}
	_, route, found := strings.Cut(x.r.Pattern, " ")
	if !found {
		route = x.r.Pattern
	}
	t, err := tasks.NewOwnException(class, x.r.Method+" "+route, message, trace)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), ownTime)
		defer cancel()
		err = s.accept(ctx, t, nil)
	}
	if err != nil {
		s.log.Error().Err(fmt.Errorf("tell a fault of our own: %w", err)).Str("request_id", x.id).Msg("a fault is only in the log")
	}
}
