package channel

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A receiver's status is its answer. Of the body, no more than a word or a sentence is of use, and none is waited for long.
const (
	maxAnswer = 16 << 10
	bodyTime  = 2 * time.Second
)

// Answer is what a receiver answers to a message.
type Answer struct {
	Status     int
	Body       string        // its beginning, without space around it; untrusted, never to be stored or shown
	RetryAfter time.Duration // what the header of this name asks for, at most MaxRetryAfter; 0: nothing
}

// OK reports whether the status is a 2xx.
func (a *Answer) OK() bool { return a.Status >= 200 && a.Status <= 299 }

// Post sends payload, which is JSON, to a webhook, with headers of its own where there are some. An *Error means that no answer came; else the caller has to look at the
// answer. Post respects the deadline of ctx.
func Post(ctx context.Context, client *http.Client, to Secret, payload []byte, header http.Header) (*Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.Reveal(), bytes.NewReader(payload))
	if err != nil {
		return nil, &Error{Kind: Permanent, Reason: "the webhook's address is not a valid URL"}
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "Tocsin")
	resp, err := client.Do(req)
	if err != nil {
		return nil, NetworkError("the webhook", err)
	}
	return &Answer{
		Status:     resp.StatusCode,
		Body:       strings.TrimSpace(string(BeginningOf(resp.Body, cancel))),
		RetryAfter: ParseRetryAfter(resp.Header.Get("Retry-After"), AnsweredAt(resp.Header)),
	}, nil
}

// BeginningOf reads what is of use of the body of an answer, at most 16 KiB and for at most 2 seconds, and closes it. A
// body that breaks off ends there. cancel ends the request of the answer.
func BeginningOf(body io.ReadCloser, cancel context.CancelFunc) []byte {
	defer time.AfterFunc(bodyTime, cancel).Stop()
	defer func() { _ = body.Close() }()
	beginning, _ := io.ReadAll(io.LimitReader(body, maxAnswer))
	return beginning
}

// Err turns an answer that is not a success into an *Error. words are those of the vendor that may be shown when they
// are all that the body says; no other text of the receiver gets into the error.
func (a *Answer) Err(words ...string) *Error {
	e := StatusError("the webhook", a.Status)
	e.RetryAfter = a.RetryAfter
	e.TooLarge = a.Status == http.StatusRequestEntityTooLarge || a.Status == http.StatusBadRequest
	if slices.Contains(words, a.Body) {
		e.Status += " (" + a.Body + ")"
		e.Reason = "the webhook answered " + e.Status + meaning(a.Status)
	}
	return e
}
