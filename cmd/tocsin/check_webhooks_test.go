package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTryWebhooks has the time of all webhooks end while some of them hang.
func TestTryWebhooks(t *testing.T) {
	t.Parallel()
	ctx, end := context.WithCancelCause(t.Context())
	hang, answered := make(chan struct{}, 3*webhooksAtOnce), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/answers" {
			return
		}
		hang <- struct{}{}
		<-r.Context().Done()
	}))
	defer server.Close()
	list := []webhookCheck{{what: "answers"}, {what: "lost", fault: errors.New("lost")}, {what: "not a URL", address: "http://a b"}}
	list[0].address = server.URL + "/answers"
	want := []string{"answers: <nil>", "lost: lost", "not a URL: it is not a valid URL: enter it again"}
	for i := range 2 * webhooksAtOnce {
		w := webhookCheck{what: fmt.Sprint("hangs ", i), address: server.URL}
		list, want = append(list, w), append(want, w.what+": "+errWebhooksTime.Error())
	}
	go func() { // once as many hang as may be tried at once, and the first results are there
		<-answered
		for range webhooksAtOnce {
			<-hang
		}
		end(errWebhooksTime)
	}()
	var got []string
	tryWebhooks(ctx, server.Client(), list, func(w webhookCheck, fault error) {
		if got = append(got, fmt.Sprintf("%s: %v", w.what, fault)); len(got) == 3 {
			close(answered)
		}
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(hang); n > 0 {
		t.Errorf("%d more than %d were tried at once", n, webhooksAtOnce)
	}
}
