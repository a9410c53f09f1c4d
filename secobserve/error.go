package secobserve

import (
	"errors"
	"fmt"
	"net/http"
)

// oldest is the oldest version of SecObserve that the connector reads.
const oldest = "1.50"

// Kind is why SecObserve did not answer as expected.
type Kind string

// Kinds of errors.
const (
	Unavailable  Kind = "Unavailable"  // no answer, or a 5xx
	Throttled    Kind = "Throttled"    // 429
	Unauthorized Kind = "Unauthorized" // 401
	Forbidden    Kind = "Forbidden"    // 403
	Missing      Kind = "Missing"      // 404: what was asked for is not there, or not visible
	Unexpected   Kind = "Unexpected"   // any other status
	Malformed    Kind = "Malformed"    // a success that is no answer of SecObserve
	Incomplete   Kind = "Incomplete"   // a list that lacks rows
	TooOld       Kind = "TooOld"       // a version before the oldest one
)

// Error is the failure of a request. Its text holds neither the token nor a part of the answer.
type Error struct {
	Kind   Kind
	Status int    // 0: none came
	Path   string // below /api/
	detail string
}

// Error implements error.
func (e *Error) Error() string {
	text := "SecObserve, " + e.Path + ": "
	if e.Status != 0 {
		text += fmt.Sprintf("it answered %d", e.Status)
		if words := http.StatusText(e.Status); words != "" {
			text += " " + words
		}
		return text + advice[e.Kind]
	}
	return text + e.detail + advice[e.Kind]
}

// advice says what to do.
var advice = map[Kind]string{
	Unavailable: "; see whether SecObserve runs and can be reached from here; Tocsin goes on trying",
	Throttled:   "; see what else sends requests as the user of the token; Tocsin goes on trying",
	Unauthorized: ": the token is wrong, has expired, or its user is deactivated; " +
		"create a new one in SecObserve, set TOCSIN_SECOBSERVE_TOKEN to it, and restart Tocsin",
	Forbidden: ": the user of the token may not read this; " +
		"set TOCSIN_SECOBSERVE_TOKEN to the token of a superuser, and restart Tocsin",
	Missing: ": there is no such thing for the user of the token; " +
		"TOCSIN_SECOBSERVE_URL must be the address of SecObserve's backend, without /api",
	Unexpected: "; TOCSIN_SECOBSERVE_URL must be the address of SecObserve's backend, without /api",
	Malformed: "; check that TOCSIN_SECOBSERVE_URL is the address of SecObserve's backend, without /api, " +
		"and that no proxy answers for it",
	Incomplete: "; nothing was deleted, and the next pass reads it again",
	TooOld:     "; update SecObserve",
}

func kindOf(status int) Kind {
	switch {
	case status == http.StatusUnauthorized:
		return Unauthorized
	case status == http.StatusForbidden:
		return Forbidden
	case status == http.StatusNotFound:
		return Missing
	case status == http.StatusTooManyRequests:
		return Throttled
	case status == http.StatusRequestTimeout, status >= http.StatusInternalServerError:
		return Unavailable
	}
	return Unexpected
}

// IsKind reports whether err is an *Error of a kind.
func IsKind(err error, k Kind) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind == k
}

// isTemporary reports whether the same request may succeed soon.
func isTemporary(err error) bool { return IsKind(err, Unavailable) || IsKind(err, Throttled) }
