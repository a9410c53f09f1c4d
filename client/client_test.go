package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTypesAreGenerated: types.gen.go is what the generator makes of openapi.json.
func TestTypesAreGenerated(t *testing.T) {
	t.Parallel()
	tool, err := exec.CommandContext(t.Context(), "go", "tool", "-modfile=../tools/go.mod", "-n", "oapi-codegen").Output()
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), strings.TrimSpace(string(tool)),
		"-config", filepath.Join(here, "oapi-codegen.yaml"), filepath.Join(here, "openapi.json"))
	cmd.Dir = t.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want, err := os.ReadFile(filepath.Join(cmd.Dir, "types.gen.go"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("types.gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("types.gen.go is not up to date; \"make generate\" writes it:\n%.3000s", diff)
	}
}

// server answers one request after the other with answers.
func server(t *testing.T, answers ...http.HandlerFunc) (c *Client, left func() int) {
	t.Helper()
	next := make(chan http.HandlerFunc, len(answers))
	for _, a := range answers {
		next <- a
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer token" {
			t.Errorf("Authorization: %q", got)
		}
		(<-next)(w, r)
	}))
	t.Cleanup(s.Close)
	return &Client{Base: s.URL + "/tocsin/", Token: "token", HTTP: s.Client()}, func() int { return len(next) }
}

func answer(status int, text string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if len(header) > 0 {
			w.Header().Set(header[0], header[1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

func some(n int64) iter.Seq[ObservationBody] {
	return func(yield func(ObservationBody) bool) {
		for id := range n {
			if !yield(ObservationBody{ID: id + 1, ProductID: 1, Title: "t", Severity: SeverityHigh}) {
				return
			}
		}
	}
}

// TestRefusedForTheMoment: a call is made again, and an import runs anew from its first line.
func TestRefusedForTheMoment(t *testing.T) {
	t.Parallel()
	lines := 0
	c, left := server(t,
		answer(503, `{"status":503,"title":"Service Unavailable","detail":"The database does not answer."}`),
		answer(429, "", "Retry-After", "1"),
		func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/tocsin/api/v1/observations" || r.URL.RawQuery != "baseline=true" || r.Header.Get("Content-Type") != "application/x-ndjson" {
				t.Errorf("%s %v", r.URL, r.Header)
			}
			for d := json.NewDecoder(r.Body); ; lines++ {
				var o ObservationBody
				if err := d.Decode(&o); err != nil {
					break
				}
			}
			answer(202, `{"received":3,"changed":2,"unchanged":1}`)(w, r)
		},
	)
	got, err := c.ImportObservations(t.Context(), some(3), true)
	if err != nil || lines != 3 || left() != 0 || got != (Accepted{Received: 3, Changed: 2, Unchanged: 1}) {
		t.Errorf("%+v %v; %d lines came, %d answers are left", got, err, lines, left())
	}
}

// TestRefusedImport: the answer may come before the last line was sent.
func TestRefusedImport(t *testing.T) {
	t.Parallel()
	c, _ := server(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(422, `{"status":422,"title":"Unprocessable Entity","detail":"line 2: title is required.","line":2,"stored":1,"errors":[{"location":"title","message":"is required"}]}`)(w, httptest.NewRequestWithContext(context.Background(), "GET", "/", nil))
	})
	_, err := c.ImportObservations(t.Context(), some(200_000), false)
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Problem.Stored == nil || *e.Problem.Stored != 1 || !IsStatus(err, 422) || !strings.Contains(e.Error(), "(title is required)") {
		t.Errorf("%v", err)
	}
}

// TestAnswerOfProxy: an answer that is not Tocsin's own is an error with its status.
func TestAnswerOfProxy(t *testing.T) {
	t.Parallel()
	c, _ := server(t, answer(403, "<html>no</html>"))
	if _, err := c.Status(t.Context()); !IsStatus(err, 403) || err.Error() != "GET /status: 403 403 Forbidden" {
		t.Errorf("%v", err)
	}
}

// TestPages: lists are read to their end with the parameters that are set.
func TestPages(t *testing.T) {
	t.Parallel()
	want := func(query, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != query {
				t.Errorf("query %q instead of %q", r.URL.RawQuery, query)
			}
			answer(200, text)(w, r)
		}
	}
	c, left := server(t,
		want("limit=2&severity=High&severity=Low", `{"items":[{"id":1,"origin":"a"},{"id":2,"origin":{"image":"b"}}],"next_cursor":"x"}`),
		want("cursor=x&limit=2&severity=High&severity=Low", `{"items":[{"id":3,"origin":null}],"next_cursor":null}`),
	)
	var ids []int64
	var origins []Origin
	for o, err := range c.Observations(t.Context(), ListObservationsParams{Limit: new(int64(2)), Severity: &[]Severity{SeverityHigh, SeverityLow}}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, o.ID)
		if o.Origin != nil {
			origins = append(origins, *o.Origin)
		}
	}
	if !cmp.Equal(ids, []int64{1, 2, 3}) || !cmp.Equal(origins, []Origin{{Text: "a"}, {Image: "b"}}) || left() != 0 {
		t.Errorf("%v %+v", ids, origins)
	}
}
