package channel

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Limits for the body of an answer. The status decides; of the body, only a word or a sentence is ever used.
const (
	maxBody  = 16 << 10 // bytes
	bodyTime = 2 * time.Second
)

// Payload returns v as JSON for Post. It does not escape HTML, which would take six bytes for each <, > and &. The
// error is an *Error.
func Payload(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, &Error{Kind: Permanent, Reason: "the message is not valid JSON"}
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// Answer is the answer of a receiver to a message.
type Answer struct {
	Status     int
	Body       string        // its beginning, without space around it; untrusted, never to be stored or shown
	RetryAfter time.Duration // from the header Retry-After, at most MaxRetryAfter; 0: none
}

// OK reports whether the status is a 2xx.
func (a *Answer) OK() bool { return a.Status >= 200 && a.Status <= 299 }

// Post sends payload, which is JSON, to a webhook, with the given headers beside its own. An *Error means that no
// answer came; the caller decides what an answer means. Post respects the deadline of ctx.
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
	resp, err := client.Do(req) //nolint:bodyclose // BeginningOf closes it
	if err != nil {
		return nil, NetworkError("the webhook", err)
	}
	return &Answer{
		Status:     resp.StatusCode,
		Body:       strings.TrimSpace(string(BeginningOf(resp.Body, cancel))),
		RetryAfter: ParseRetryAfter(resp.Header.Get("Retry-After"), AnsweredAt(resp.Header)),
	}, nil
}

// BeginningOf reads the beginning of the body of an answer, at most 16 KiB and for at most 2 seconds, and closes the
// body. Where reading fails it returns what came before. cancel must cancel the context of the request.
func BeginningOf(body io.ReadCloser, cancel context.CancelFunc) []byte {
	defer time.AfterFunc(bodyTime, cancel).Stop()
	defer func() { _ = body.Close() }()
	beginning, _ := io.ReadAll(io.LimitReader(body, maxBody))
	return beginning
}

// Err turns an answer that is not a success into an *Error. words are the vendor's words that the error may show,
// where one of them is the whole body; no other text of the receiver gets into the error.
func (a *Answer) Err(words ...string) *Error {
	e := StatusError("the webhook", a.Status)
	e.RetryAfter = a.RetryAfter
	// Some receivers answer 400 to a message that is too long for them. One that answers 400 to everything is tried with
	// shorter messages in vain.
	e.TooLarge = a.Status == http.StatusRequestEntityTooLarge || a.Status == http.StatusBadRequest
	if slices.Contains(words, a.Body) {
		e.Status += " (" + a.Body + ")"
		e.Reason = "the webhook answered " + e.Status + meaning(a.Status)
	}
	return e
}
