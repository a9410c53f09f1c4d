package channel

import (
	"context"
	"errors"
	"strings"
)

// Category says in one word why a message was not accepted, for metrics and logs; Kind decides what happens next.
type Category string

// NoFailure is the category of a message that was accepted.
const NoFailure Category = "none"

// Categories of failures.
const (
	categoryNetwork       Category = "network" // no answer came
	categoryTimeout       Category = "timeout"
	categoryRateLimited   Category = "rate_limited"
	categoryServerError   Category = "server_error"
	categoryRefused       Category = "refused" // for good
	categoryConfiguration Category = "configuration"
	categoryGone          Category = "gone"
)

// Categories lists all categories of failures.
var Categories = []Category{
	categoryNetwork, categoryTimeout, categoryRateLimited, categoryServerError, categoryRefused, categoryConfiguration,
	categoryGone,
}

// ErrNotConfigured is the cause of a failure that the operator of Tocsin can mend.
var ErrNotConfigured = errors.New("not configured")

// Category returns the category of e; NoFailure where e is nil.
func (e *Error) Category() Category {
	if e == nil {
		return NoFailure
	}
	switch e.Kind {
	case RateLimited:
		return categoryRateLimited
	case Configuration:
		return categoryConfiguration
	case Gone:
		return categoryGone
	case Permanent:
		if errors.Is(e.Err, ErrNotConfigured) || errors.Is(e.Err, ErrNotPublic) {
			return categoryConfiguration
		}
		return categoryRefused
	case Temporary:
	}
	switch {
	case strings.HasPrefix(e.Status, "408"), errors.Is(e.Err, context.DeadlineExceeded):
		return categoryTimeout
	case e.Status != "":
		return categoryServerError
	}
	return categoryNetwork
}
