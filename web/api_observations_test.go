package web_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	postPath = "/api/v1/observations"
	ndjson   = "application/x-ndjson"
)

// wrapped makes the JSON body of observations.
func wrapped(list ...string) string {
	return `{"observations":[` + strings.Join(list, ",") + `]}`
}

func (r *reply) counts() [3]any {
	return [3]any{r.json["received"], r.json["changed"], r.json["unchanged"]}
}

func TestObservationRoundTrip(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		whole := map[string]any{
			"title": "Ä \"quoted\" 'title'\n€", "priority": 7, "vulnerability_id": "CVE-2026-1", "cvss_score": 9.8,
			"origin": map[string]any{"component": "openssl 3.0", "file": "go.mod"}, "url": "https://secobserve.example/1",
			"known_exploited": false, "epss_score": 0.25, "fixed_version": "3.0.1", "branch": "main", "service": "web", "scanner": "Trivy 1.0",
		}
		if got := e.want(202, "POST", postPath, wrapped(observation(1, 1, whole), observation(2, 1, map[string]any{"origin": "here"}))).counts(); got != [3]any{2.0, 2.0, 0.0} {
			t.Errorf("new: %v", got)
		}
		if got := e.want(202, "POST", postPath, wrapped(observation(1, 1, whole))).counts(); got != [3]any{1.0, 0.0, 1.0} {
			t.Errorf("as stored: %v", got)
		}
		one := e.want(200, "GET", postPath+"/1", nil)
		want := map[string]any{"id": 1.0, "product_id": 1.0, "severity": "High", "status": "Open", "parser_type": "SCA"}
		maps.Copy(want, whole)
		want["priority"] = 7.0
		if diff := cmp.Diff(want, one.json); diff != "" {
			t.Errorf("stored:\n%s", diff)
		}
		if got := e.want(200, "GET", postPath+"/2", nil).json; got["origin"] != "here" || got["priority"] != nil || got["cvss_score"] != nil || got["url"] != "" ||
			got["known_exploited"] != nil || got["epss_score"] != nil || got["branch"] != "" {
			t.Errorf("stored: %v", got)
		}
		if got := e.want(202, "POST", postPath, wrapped(one.text)).counts(); got != [3]any{1.0, 0.0, 1.0} {
			t.Errorf("sent back: %v", got)
		}
		if got := e.want(202, "POST", postPath, wrapped(observation(1, 1, map[string]any{"origin": nil, "cvss_score": nil, "vulnerability_id": nil, "url": ""}))).counts(); got != [3]any{1.0, 1.0, 0.0} {
			t.Errorf("optional fields emptied: %v", got)
		}
		for name, value := range map[string]any{
			"known_exploited": true, "epss_score": 0.5, "fixed_version": "3.0.2", "branch": "x", "service": "x", "scanner": "x",
		} {
			if got := e.want(202, "POST", postPath, wrapped(observation(2, 1, map[string]any{name: value}))).counts(); got != [3]any{1.0, 1.0, 0.0} {
				t.Errorf("another %s: %v", name, got)
			}
		}
		e.want(202, "POST", postPath+"/1/evaluate", nil)
		e.want(404, "POST", postPath+"/9/evaluate", nil)
		e.want(204, "DELETE", postPath+"/1", nil)
		e.want(404, "DELETE", postPath+"/1", nil)
		e.want(404, "POST", postPath+"/1/evaluate", nil)
	})
}

// TestObservationBaseline asks in the outbox how observations are evaluated.
func TestObservationBaseline(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		for i, c := range []struct {
			query, kind string
			lines       bool
		}{
			{"?baseline=true", "baseline", false},
			{"?baseline=true", "baseline", true},
			{"?baseline=false", "observation", false},
			{"?baseline=false", "observation", true},
		} {
			body, media := wrapped(observation(int64(i+1), 1, nil)), "application/json"
			if c.lines {
				body, media = observation(int64(i+1), 1, nil), ndjson
			}
			before := e.count("outbox", "kind = '"+c.kind+"'")
			if got := e.want(202, "POST", postPath+c.query, body, "Content-Type", media).counts(); got != [3]any{1.0, 1.0, 0.0} {
				t.Errorf("%+v: %v", c, got)
			}
			if n := e.count("outbox", "kind = '"+c.kind+"'"); n != before+1 {
				t.Errorf("%+v: %d events of the kind more", c, n-before)
			}
		}
		for _, word := range []string{"yes", "1", "True"} {
			if f := e.want(422, "POST", postPath+"?baseline="+word, wrapped(observation(9, 1, nil))).faults(); len(f) != 1 {
				t.Errorf("%s: %v", word, f)
			}
		}
		e.want(404, "GET", postPath+"/9", nil)
	})
}

func TestObservationSameID(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		body := []string{observation(1, 1, nil), observation(1, 1, map[string]any{"severity": "Low"}), observation(1, 1, map[string]any{"severity": "Low"})}
		if got := e.want(202, "POST", postPath, wrapped(body...)).counts(); got != [3]any{1.0, 1.0, 0.0} {
			t.Errorf("one id in a JSON call: %v", got)
		}
		e.want(204, "DELETE", postPath+"/1", nil)
		if got := e.want(202, "POST", postPath, strings.Join(body, "\n"), "Content-Type", ndjson).counts(); got != [3]any{3.0, 2.0, 1.0} {
			t.Errorf("one id in several lines: %v", got)
		}
		if got := e.want(200, "GET", postPath+"/1", nil).json["severity"]; got != "Low" {
			t.Errorf("the last one does not win: %v", got)
		}
	})
}

var faultyObservations = []struct {
	name  string
	more  map[string]any
	field string
}{
	{"no id", map[string]any{"id": absent}, "id"},
	{"no product", map[string]any{"product_id": absent}, "product_id"},
	{"no title", map[string]any{"title": absent}, "title"},
	{"no severity", map[string]any{"severity": absent}, "severity"},
	{"no status", map[string]any{"status": absent}, "status"},
	{"no priority", map[string]any{"priority": absent}, "priority"},
	{"no parser type", map[string]any{"parser_type": absent}, "parser_type"},
	{"unknown", map[string]any{"component": "x"}, "component"},
	{"case", map[string]any{"Severity": "High"}, "Severity"},
	{"id 0", map[string]any{"id": 0}, "id"},
	{"id too large", map[string]any{"id": 1 << 53}, "id"},
	{"id a text", map[string]any{"id": "1"}, "id"},
	{"id with a fraction", map[string]any{"id": 1.5}, "id"},
	{"id null", map[string]any{"id": nil}, "id"},
	{"title empty", map[string]any{"title": ""}, "title"},
	{"title null", map[string]any{"title": nil}, "title"},
	{"title too long", map[string]any{"title": strings.Repeat("ü", 10_001)}, "title"},
	{"title with NUL", map[string]any{"title": "a\x00b"}, "title"},
	{"title a number", map[string]any{"title": 1}, "title"},
	{"severity unknown", map[string]any{"severity": "critical"}, "severity"},
	{"severity null", map[string]any{"severity": nil}, "severity"},
	{"status unknown", map[string]any{"status": "open"}, "status"},
	{"priority 0", map[string]any{"priority": 0}, "priority"},
	{"priority 100", map[string]any{"priority": 100}, "priority"},
	{"priority a text", map[string]any{"priority": "1"}, "priority"},
	{"priority with a fraction", map[string]any{"priority": 1.5}, "priority"},
	{"parser type unknown", map[string]any{"parser_type": "sca"}, "parser_type"},
	{"score too high", map[string]any{"cvss_score": 10.1}, "cvss_score"},
	{"score negative", map[string]any{"cvss_score": -1}, "cvss_score"},
	{"score a text", map[string]any{"cvss_score": "9"}, "cvss_score"},
	{"EPSS score too high", map[string]any{"epss_score": 1.1}, "epss_score"},
	{"EPSS score a text", map[string]any{"epss_score": "1"}, "epss_score"},
	{"known exploited a text", map[string]any{"known_exploited": "true"}, "known_exploited"},
	{"known exploited a number", map[string]any{"known_exploited": 1}, "known_exploited"},
	{"fixed version a number", map[string]any{"fixed_version": 3.1}, "fixed_version"},
	{"branch with NUL", map[string]any{"branch": "a\x00"}, "branch"},
	{"service a list", map[string]any{"service": []string{"x"}}, "service"},
	{"scanner too long", map[string]any{"scanner": strings.Repeat("x", 10_001)}, "scanner"},
	{"origin a number", map[string]any{"origin": 1}, "origin"},
	{"origin unknown part", map[string]any{"origin": map[string]any{"path": "x"}}, "origin.path"},
	{"origin part a number", map[string]any{"origin": map[string]any{"file": 1}}, "origin.file"},
	{"origin with NUL", map[string]any{"origin": "a\x00"}, "origin"},
	{"vulnerability a list", map[string]any{"vulnerability_id": []string{"x"}}, "vulnerability_id"},
	{"url no address", map[string]any{"url": "javascript:alert(1)"}, "url"},
	{"url with NUL", map[string]any{"url": "https://x.example/\x00"}, "url"},
	{"product unknown", map[string]any{"product_id": 99}, "product_id"},
}

// TestObservationFaults tries each fault in both forms; nothing behind it may be stored.
func TestObservationFaults(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.product(1)
	for i, c := range faultyObservations {
		good := int64(1000 + 10*i)
		faulty := observation(5, 1, c.more)
		r := e.want(422, "POST", postPath, wrapped(observation(good, 1, nil), faulty, observation(good+2, 1, nil)))
		if f := r.faults(); f["observations[1]."+c.field] == "" || len(f) != 1 && c.field != "url" {
			t.Errorf("%s: %v", c.name, f)
		}
		e.want(404, "GET", fmt.Sprintf("%s/%d", postPath, good), nil)

		r = e.want(422, "POST", postPath, observation(good, 1, nil)+"\n\n"+faulty+"\n"+observation(good+2, 1, nil), "Content-Type", ndjson)
		if f := r.faults(); f[c.field] == "" || r.json["line"] != 3.0 || r.json["stored"] != 2.0 {
			t.Errorf("%s as a line: %s", c.name, r.text)
		}
		e.want(200, "GET", fmt.Sprintf("%s/%d", postPath, good), nil)
		e.want(404, "GET", fmt.Sprintf("%s/%d", postPath, good+2), nil)
	}
	e.want(404, "GET", postPath+"/5", nil)
}

func TestObservationBodyFaults(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.product(1)
	for body, field := range map[string]string{
		`{}`:                           "observations",
		`{"observations":null}`:        "observations",
		`{"observations":{}}`:          "observations",
		`{"observations":[1]}`:         "observations[0]",
		`{"observations":[],"more":1}`: "more",
		`[]`:                           "",
		`null`:                         "",
		wrapped(strings.TrimSuffix(strings.Repeat(observation(1, 1, nil)+",", 10_001), ",")): "observations",
	} {
		if f := e.want(422, "POST", postPath, body).faults(); f[field] == "" || len(f) != 1 {
			t.Errorf("%.60s: %v", body, f)
		}
	}
	for _, body := range []string{``, `{`, `{"observations":[`, `{"observations":[{}`, wrapped(observation(1, 1, nil)) + "x", `{"observations":[{]}`, `{"observations":[}`} {
		if got := e.want(400, "POST", postPath, body).text; !strings.Contains(got, "byte ") {
			t.Errorf("%s: %s", body, got)
		}
	}
	many := e.want(422, "POST", postPath, wrapped(strings.TrimSuffix(strings.Repeat(`{},`, 200), ",")))
	if n := len(many.json["errors"].([]any)); n != 100 {
		t.Errorf("%d faults are named", n)
	}
	several := e.want(422, "POST", postPath, wrapped(observation(1, 1, map[string]any{"severity": "x", "title": absent, "priority": 100}), observation(2, 1, map[string]any{"status": 1}))).faults()
	if len(several) != 4 {
		t.Errorf("not every fault is named: %v", several)
	}
	if got := e.want(202, "POST", postPath, wrapped()).counts(); got != [3]any{0.0, 0.0, 0.0} {
		t.Errorf("none: %v", got)
	}
	e.want(415, "POST", postPath, "a=b", "Content-Type", "text/plain")
	for _, ct := range []string{"application/json; charset=utf-8", ""} {
		e.want(202, "POST", postPath, wrapped(), "Content-Type", ct)
	}
}

// TestTenThousand is the largest JSON call.
func TestTenThousand(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		list := make([]string, 10_000)
		for i := range list {
			list[i] = observation(int64(i+1), 1, nil)
		}
		body := wrapped(list...)
		if got := e.want(202, "POST", postPath, body).counts(); got != [3]any{10_000.0, 10_000.0, 0.0} {
			t.Errorf("new: %v", got)
		}
		if got := e.want(202, "POST", postPath, body).counts(); got != [3]any{10_000.0, 0.0, 10_000.0} {
			t.Errorf("as stored: %v", got)
		}
	})
}
