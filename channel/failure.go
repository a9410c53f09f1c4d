package channel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Kind says what a failure to send means for the next attempt; metrics and logs name the Category of the failure.
type Kind int

// Kinds of failures.
const (
	Temporary     Kind = iota // network errors, 408, 5xx: try again later
	RateLimited               // 429: try again after RetryAfter
	Configuration             // TLS, login or HELO refused: try again later; the operator must change the configuration
	Permanent                 // the receiver will never accept this message
	Gone                      // the receiver will never accept any message
)

// String returns the kind in words.
func (k Kind) String() string {
	switch k {
	case Temporary:
		return "temporary"
	case RateLimited:
		return "rate limited"
	case Configuration:
		return "configuration"
	case Permanent:
		return "permanent"
	case Gone:
		return "gone"
	}
	return "unknown"
}

// Error says why a message was not accepted. Its text is stored and shown, so it has fixed words and a status, and
// never a URL, a body or a key.
type Error struct {
	Kind       Kind
	Reason     string        // for people: "the webhook answered 404 (no_service): …"
	Status     string        // the answer alone: "404 (no_service)", "550 5.1.1"; empty where none came
	RetryAfter time.Duration // what the receiver asked for; 0: nothing
	TooLarge   bool          // the receiver refused the message for its size or form: it may accept a shorter one
	Err        error         // the cause, with nothing secret in it; may be nil
}

// Error implements error.
func (e *Error) Error() string { return e.Reason }

// Brief returns the reason in few words: the status of the answer where that is enough, else all of Reason.
func (e *Error) Brief() string {
	if e.Status == "" || e.Kind == Configuration {
		return e.Reason
	}
	return e.Status
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Category says in one word why a message was not accepted, for metrics and logs: see Error.Category.
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

// ErrNotConfigured is the cause of a failure that ends once the operator of Tocsin changes the configuration.
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

// StatusError returns the error of an HTTP status that is not a success: 408 and 5xx are temporary, 429 is
// rate-limited, every other 4xx and a 3xx, which is never followed, are permanent. Any other status is temporary.
// receiver is a noun such as "the webhook".
func StatusError(receiver string, status int) *Error {
	e := &Error{Kind: Temporary, Status: strconv.Itoa(status)}
	e.Reason = receiver + " answered " + e.Status + meaning(status)
	switch {
	case status == http.StatusTooManyRequests:
		e.Kind = RateLimited
	case status == http.StatusRequestTimeout:
	case status >= 300 && status <= 499:
		e.Kind = Permanent
	}
	return e
}

// meaning says in words what a status means, as the end of a sentence.
func meaning(status int) string {
	switch {
	case status >= 300 && status <= 399:
		return ": a redirect, which is not followed"
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ": access denied"
	case status == http.StatusNotFound, status == http.StatusGone:
		return ": it does not exist (any more)"
	case status == http.StatusRequestTimeout:
		return ": time-out"
	case status == http.StatusRequestEntityTooLarge:
		return ": the message is too large"
	case status == http.StatusTooManyRequests:
		return ": too many messages"
	case status >= 400 && status <= 499:
		return ": the message was refused"
	case status >= 500 && status <= 599:
		return ": a fault on its side"
	}
	return ": an unexpected answer"
}

// NetworkError returns the error of a request that got no answer; receiver is a noun such as "the webhook". It leaves
// out the text of err, which holds URLs, hosts and addresses, and keeps a cause only where its text is fixed. The error
// is temporary, unless the client of NewHTTPClient refused to connect.
func NetworkError(receiver string, err error) *Error {
	var (
		dns     *net.DNSError
		errno   syscall.Errno
		refused *proxyError
		dial    *net.OpError
	)
	e := &Error{Kind: Temporary}
	switch {
	case errors.Is(err, ErrNotPublic):
		e.Kind = Permanent
		e.Reason = receiver + "'s address is not public, or not https on port 443: " +
			"others must be inside TOCSIN_WEBHOOK_ALLOWED_NETWORKS"
		e.Err = ErrNotPublic
	case errors.As(err, &refused):
		e.Reason = fmt.Sprintf("the proxy on the way to %s answered %d", receiver, refused.status)
	case errors.As(err, &dial) && dial.Op == "proxyconnect":
		e.Reason = "the proxy on the way to " + receiver + " could not be reached"
	case errors.Is(err, context.Canceled):
		e.Reason, e.Err = "sending to "+receiver+" was interrupted", context.Canceled
	case errors.As(err, &dns):
		e.Reason = receiver + "'s host name could not be resolved"
	case isCertificate(err):
		e.Reason = receiver + "'s TLS certificate is not valid"
	case isTimeout(err):
		e.Reason, e.Err = receiver+" did not answer in time", context.DeadlineExceeded
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Reason, e.Err = receiver+" refused the connection", syscall.ECONNREFUSED
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.Reason, e.Err = "the connection to "+receiver+" broke off", io.ErrUnexpectedEOF
	case errors.As(err, &errno):
		e.Reason, e.Err = receiver+" could not be reached", errno
	default:
		e.Reason = receiver + " could not be reached, or did not speak as expected"
	}
	return e
}

func isCertificate(err error) bool {
	var cert *tls.CertificateVerificationError
	return errors.As(err, &cert)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// MaxRetryAfter is the longest time for which a receiver can make Tocsin wait.
const MaxRetryAfter = 24 * time.Hour

// ParseRetryAfter reads the header Retry-After, seconds or a date
// (https://www.rfc-editor.org/rfc/rfc9110#field.retry-after). It returns 0 for a date in the past and for any other
// text, and at most MaxRetryAfter.
func ParseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), int64(MaxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), MaxRetryAfter)
	}
	return 0
}

// AnsweredAt returns the time of an answer, by the receiver's clock where the answer has a Date: a time in its other
// headers is one of that clock, which may differ from ours.
func AnsweredAt(h http.Header) time.Time {
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		return at
	}
	return time.Now()
}
