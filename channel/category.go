package channel

import (
	"context"
	"errors"
	"strings"
)

// Category says in one word why a message was not accepted, for metrics and logs.
type Category string

// NoFailure is the category of a message that was accepted.
const NoFailure Category = "none"

// Categories of failures.
const (
	Network        Category = "network" // no answer came
	Timeout        Category = "timeout"
	TooMany        Category = "rate_limited"
	ServerError    Category = "server_error"
	Refused        Category = "refused" // for good
	Misconfigured  Category = "configuration"
	ReceiverIsGone Category = "gone"
)

// Categories lists all categories of failures.
var Categories = []Category{Network, Timeout, TooMany, ServerError, Refused, Misconfigured, ReceiverIsGone}

// ErrNotConfigured is the cause of a failure that the operator of Tocsin can mend.
var ErrNotConfigured = errors.New("not configured")

// Category returns the category of e; NoFailure where e is nil.
func (e *Error) Category() Category {
	if e == nil {
		return NoFailure
	}
	switch e.Kind {
	case RateLimited:
		return TooMany
	case Configuration:
		return Misconfigured
	case Gone:
		return ReceiverIsGone
	case Permanent:
		if errors.Is(e.Err, ErrNotConfigured) || errors.Is(e.Err, ErrNotPublic) {
			return Misconfigured
		}
		return Refused
	case Temporary:
	}
	switch {
	case strings.HasPrefix(e.Status, "408"), errors.Is(e.Err, context.DeadlineExceeded):
		return Timeout
	case e.Status != "":
		return ServerError
	}
	return Network
}
