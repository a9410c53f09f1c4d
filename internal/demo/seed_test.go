package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/client"
)

// api is what Seed speaks to: it notes calls.
type api struct {
	mu     sync.Mutex
	calls  map[string][]string // bodies by method and path
	busy   int                 // answers of status that still say so
	broken func(call string) bool
	heard  chan string
}

func (a *api) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	call := req.Method + " " + req.URL.Path
	body, err := io.ReadAll(req.Body)
	if err != nil || req.Header.Get("Authorization") != "Bearer token" {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	a.mu.Lock()
	a.calls[call] = append(a.calls[call], string(body))
	broken := a.broken != nil && a.broken(call)
	if call == "POST /api/v1/observations" {
		a.busy = 1
	}
	outbox := a.busy
	if call == "GET /api/v1/status" && a.busy > 0 {
		a.busy--
	}
	a.mu.Unlock()
	if a.heard != nil && req.Method != http.MethodGet {
		select {
		case a.heard <- call:
		default:
		}
	}
	switch {
	case broken:
		http.Error(w, "broken", http.StatusInternalServerError)
	case call == "GET /api/v1/status":
		fmt.Fprintf(w, `{"outbox":%d}`, outbox)
	}
}

func startAPI(t *testing.T, a *api) Target {
	t.Helper()
	a.calls = map[string][]string{}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	return Target{APIBase: s.URL + "/", Token: "token", Receiver: startReceiver(t), Every: time.Millisecond}
}

func TestSeed(t *testing.T) {
	t.Parallel()
	a := &api{heard: make(chan string, 1000)}
	target := startAPI(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- Seed(ctx, target) }()
	exceptions := 0
	for exceptions < storm+3 { // one when the storm is over, then one a round
		select {
		case call := <-a.heard:
			if call == "POST /api/v1/exceptions" {
				exceptions++
			}
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	products, groups := 0, 0
	for call := range a.calls {
		if strings.HasPrefix(call, "PUT /api/v1/products/") && strings.Count(call, "/") == 4 {
			products++
		}
		if strings.HasPrefix(call, "PUT /api/v1/product-groups/") && !strings.Contains(call, "/members/") {
			groups++
		}
	}
	if products != 62 || groups != 3 {
		t.Errorf("%d products, %d groups", products, groups)
	}
	for _, call := range []string{"PATCH /api/v1/settings", "PUT /api/v1/users/alex", "PUT /api/v1/products/54/security-gate", "POST /api/v1/task-exceptions", "POST /api/v1/products/54/test-notification"} {
		if len(a.calls[call]) == 0 {
			t.Errorf("no %s", call)
		}
	}
	for _, settings := range a.calls["PATCH /api/v1/settings"] {
		if strings.Contains(settings, "_url") {
			t.Errorf("messages lead away from Tocsin: %s", settings)
		}
	}
	checkStates(t, a.calls["POST /api/v1/observations"])
}

// checkStates: an import of all, and no state that was reported just before.
func checkStates(t *testing.T, bodies []string) {
	t.Helper()
	imported := 0
	last := map[int64]string{}
	for _, body := range bodies {
		lines := strings.Split(strings.TrimSpace(body), "\n")
		if len(lines) > 1 {
			imported = len(lines)
			continue
		}
		var in struct{ Observations []json.RawMessage }
		if err := json.Unmarshal([]byte(body), &in); err != nil || len(in.Observations) != 1 {
			t.Fatalf("%s: %v", body, err)
		}
		var o client.ObservationBody
		if err := json.Unmarshal(in.Observations[0], &o); err != nil {
			t.Fatal(err)
		}
		if o.ID < 1 || o.ProductID < 1 || o.Title == "" || o.Severity == "" || o.Status == "" || o.ParserType == "" {
			t.Errorf("incomplete: %s", body)
		}
		if last[o.ID] == string(in.Observations[0]) {
			t.Errorf("reported twice: %s", body)
		}
		last[o.ID] = string(in.Observations[0])
	}
	if imported != 146 {
		t.Errorf("%d observations imported", imported)
	}
}

// TestManyEvents: the events that come round never run out.
func TestManyEvents(t *testing.T) {
	t.Parallel()
	a := &api{}
	target := startAPI(t, a)
	products, observations, err := sample()
	if err != nil {
		t.Fatal(err)
	}
	s := newStory(newTocsin(target.APIBase, target.Token), products, observations)
	for range 600 {
		if err := s.next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(a.calls["POST /api/v1/observations"]); got < 200 {
		t.Errorf("%d changes of observations in 600 events", got)
	}
}

func TestSeedErrors(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(string) bool{
		"set up":     func(call string) bool { return call == "PATCH /api/v1/settings" },
		"import":     func(call string) bool { return call == "POST /api/v1/observations" },
		"status":     func(call string) bool { return call == "GET /api/v1/status" },
		"exceptions": func(call string) bool { return call == "POST /api/v1/exceptions" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Seed(t.Context(), startAPI(t, &api{broken: broken}))
			if err == nil || !strings.Contains(err.Error(), "500") || strings.Contains(err.Error(), "token") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSeedEndsWhileNothingAnswers(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := startReceiver(t)
	if err := Seed(ctx, Target{APIBase: "http://127.0.0.1:1", Receiver: r}); err != nil {
		t.Errorf("got %v", err)
	}
	never := func() (bool, error) { return false, nil }
	if err := poll(t.Context(), time.Millisecond, never); !errors.Is(err, errTimeout) {
		t.Errorf("got %v", err)
	}
}

func TestReceiverClosesTwice(t *testing.T) {
	t.Parallel()
	r, err := NewReceiver(zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
