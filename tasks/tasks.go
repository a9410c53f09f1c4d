// Package tasks is how a web tier in Go reports to Tocsin what happened. Its constructors make events and refuse
// faulty ones with InvalidError. An Outbox stores an event in a transaction of the web tier, a Client puts it into
// Redis, and Recoverer reports panics and failed answers of HTTP handlers. The package evaluates and delivers nothing,
// and brings no database driver.
package tasks

import (
	"errors"

	"github.com/seed91453169/tocsin/internal/accept"
)

// Task is an event, made by one of the New functions, for an Outbox or a Client.
type Task struct{ event *accept.Event }

// InTrace makes all that Tocsin does because of the task a part of a trace of the caller, and returns the task. parent
// is the caller's place in that trace, written as in the header traceparent of W3C Trace Context. The parent of a trace
// that is not sampled changes nothing.
func (t *Task) InTrace(parent string) *Task {
	if t != nil && t.event != nil {
		t.event.InTrace(parent)
	}
	return t
}

// errNoTask refuses a nil Task.
var errNoTask = errors.New("no task: its constructor returned an error")

// newTask makes a Task of what a constructor of accept returned.
func newTask(e *accept.Event, err error) (*Task, error) {
	if err != nil {
		return nil, publicError(err)
	}
	return &Task{event: e}, nil
}
