package web

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/web/input"
)

// ExceptionBody documents the body of an exception. input.ReadException reads it, and takes values of other
// types as text.
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

func (s *server) apiPostException(ctx context.Context, _ *struct{}) (*struct{}, error) {
	e, err := s.readException(ctx, input.ReadException)
	if err != nil {
		return nil, err
	}
	t, err := accept.NewException(e.ExceptionInfo)
	return nil, s.accept(ctx, t, err)
}

func (s *server) apiPostTaskException(ctx context.Context, _ *struct{}) (*struct{}, error) {
	e, err := s.readException(ctx, input.ReadTaskException)
	if err != nil {
		return nil, err
	}
	t, err := accept.NewTaskException(*e)
	return nil, s.accept(ctx, t, err)
}

// accept accepts a task that a constructor has just made.
func (s *server) accept(ctx context.Context, t *accept.Event, err error) error {
	if err == nil {
		_, err = s.acceptor.Accept(ctx, t)
	}
	return err
}

// readException reads the body of an exception.
func (s *server) readException(
	ctx context.Context, read func(io.Reader) (*accept.TaskExceptionInfo, error),
) (*accept.TaskExceptionInfo, error) {
	x := exchangeOf(ctx)
	media := mediaType(x.r)
	if !isJSON(media) {
		return nil, wrongMediaType("application/json")
	}
	x.body.takeLarge(ctx, media, s.large)
	return read(x.r.Body)
}

// ownTime bounds how long an answer waits until a fault of ours is stored.
const ownTime = 2 * time.Second

// reportOwn makes a fault in a request to Tocsin itself an exception.
func (s *server) reportOwn(x *exchange, class, message, trace string) {
	if s.acceptor == nil {
		return // the health of a worker
	}
	_, route, found := strings.Cut(x.r.Pattern, " ")
	if !found {
		route = x.r.Pattern
	}
	t, err := accept.NewOwnException(accept.ExceptionInfo{
		Class: class, Function: x.r.Method + " " + route, Message: message, Trace: trace,
	})
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), ownTime)
		defer cancel()
		err = s.accept(ctx, t, nil)
	}
	if err != nil {
		s.log.Error().Err(fmt.Errorf("report a fault of Tocsin: %w", err)).Func(x.ids).
			Msg("a fault is only in the log")
	}
}
