package channel

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxAnswer is how much of a receiver's answer is read: what counts is a word or a sentence.
const maxAnswer = 16 << 10

// Answer is what a receiver said to a message.
type Answer struct {
	Status     int
	Body       string        // its beginning, without space around it; untrusted, never to be stored or shown
	RetryAfter time.Duration // what the header of this name asks for, at most MaxRetryAfter; 0: nothing
}

// OK reports whether the status is a 2xx.
func (a *Answer) OK() bool { return a.Status >= 200 && a.Status <= 299 }

// Post sends payload, which is JSON, to a webhook. An *Error means that no answer came, or none that is whole; else the
// caller has to look at the answer. Both of them respect the deadline of ctx.
func Post(ctx context.Context, client *http.Client, to Secret, payload []byte) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.Reveal(), bytes.NewReader(payload))
	if err != nil {
		return nil, &Error{Kind: Permanent, Reason: "the webhook's address is not a valid URL"}
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "Tocsin")
	resp, err := client.Do(req)
	if err != nil {
		return nil, NetworkError("the webhook", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	a := &Answer{
		Status:     resp.StatusCode,
		Body:       strings.TrimSpace(string(body)),
		RetryAfter: ParseRetryAfter(resp.Header.Get("Retry-After"), AnsweredAt(resp.Header)),
	}
	if err != nil && a.OK() { // any other status says enough by itself
		return nil, NetworkError("the webhook", err)
	}
	return a, nil
}

// Err turns an answer that is not a success into an *Error. words are those of the vendor that may be shown when they
// are all that the body says; no other text of the receiver gets into the error.
func (a *Answer) Err(words ...string) *Error {
	e := StatusError("the webhook", a.Status)
	e.RetryAfter = a.RetryAfter
	e.TooLarge = a.Status == http.StatusRequestEntityTooLarge || a.Status == http.StatusBadRequest
	if slices.Contains(words, a.Body) {
		e.Reason = fmt.Sprintf("the webhook answered %d (%s)%s", a.Status, a.Body, meaning(a.Status))
	}
	return e
}
