package channeltest

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed91453169/tocsin/channel"
)

// FuzzAnswers gives a sender any answer that HTTP can carry. Send must succeed exactly where the status is a 2xx, and
// its error must hold neither a secret nor anything of what the receiver said. open returns the sender over client;
// bodies are bodies of its vendor's answers.
func FuzzAnswers(f *testing.F, open func(client *http.Client) (channel.Sender, channel.Target), bodies ...string) {
	f.Helper()
	for _, body := range append(bodies, "", "ok", Gossip, `{"error":1}`, "\xff\x00", "<html>") {
		for status := range Statuses {
			f.Add(status, "17", body)
		}
		f.Add(http.StatusOK, "", body)
		f.Add(http.StatusAccepted, "soon", body)
	}
	f.Fuzz(func(t *testing.T, status int, retryAfter, body string) {
		status = 200 + int(uint(status)%400) // net/http passes on no 1xx but 101, and HTTP ends at 599
		for _, said := range []string{body, body + Gossip} {
			sender, to := open(&http.Client{Transport: answering{status, retryAfter, said}})
			err := sender.Send(t.Context(), to, Message("x"))
			if (err == nil) != (status <= 299) {
				t.Errorf("%d: %v", status, err)
			}
			if err == nil {
				continue
			}
			NoLeak(t, err)
			var e *channel.Error
			if !errors.As(err, &e) {
				t.Fatalf("Send returned %T", err)
			}
			if e.RetryAfter < 0 || e.RetryAfter > channel.MaxRetryAfter {
				t.Errorf("retry after %v", e.RetryAfter)
			}
			if e.Reason == "" || len(e.Reason) > 200 || !utf8.ValidString(e.Reason) ||
				strings.ContainsAny(e.Reason, "\r\n\x00") {
				t.Errorf("reason %q", e.Reason)
			}
			if status/100 == 4 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests &&
				status != http.StatusNotFound && e.Kind != channel.Permanent &&
				(status != http.StatusGone || e.Kind != channel.Gone) {
				t.Errorf("%d is %v", status, e.Kind)
			}
		}
	})
}

// answering is a transport that sends nothing and always returns the same answer.
type answering struct {
	status           int
	retryAfter, body string
}

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	return &http.Response{
		StatusCode: a.status, Header: http.Header{"Retry-After": {a.retryAfter}, "X-Ratelimit-Reset": {a.retryAfter}},
		Body: io.NopCloser(strings.NewReader(a.body)), Request: r,
	}, nil
}
