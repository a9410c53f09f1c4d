package accept

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

func good() dbmodel.Observation {
	return dbmodel.Observation{ID: 1, ProductID: 2, Title: "CVE-2026-1", Severity: rule.High, Status: rule.Open, ParserType: "SCA"}
}

func TestNewObservationsNamesEveryFault(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*dbmodel.Observation)
		fields []string
	}{
		"nothing wrong":      {func(*dbmodel.Observation) {}, nil},
		"id 0":               {func(o *dbmodel.Observation) { o.ID = 0 }, []string{"id"}},
		"id too large":       {func(o *dbmodel.Observation) { o.ID = MaxID + 1 }, []string{"id"}},
		"largest id":         {func(o *dbmodel.Observation) { o.ID = MaxID }, nil},
		"no title":           {func(o *dbmodel.Observation) { o.Title = "" }, []string{"title"}},
		"longest title":      {func(o *dbmodel.Observation) { o.Title = strings.Repeat("ü", MaxTitle) }, nil},
		"title too long":     {func(o *dbmodel.Observation) { o.Title = strings.Repeat("ü", MaxTitle+1) }, []string{"title"}},
		"NUL":                {func(o *dbmodel.Observation) { o.Title = "a\x00" }, []string{"title"}},
		"no UTF-8":           {func(o *dbmodel.Observation) { o.Origin.File = "a\xff" }, []string{"origin.file"}},
		"unknown words":      {func(o *dbmodel.Observation) { o.Severity, o.Status, o.ParserType = "high", "open", "sca" }, []string{"severity", "status", "parser_type"}},
		"priority 0":         {func(o *dbmodel.Observation) { o.Priority = new(0) }, []string{"priority"}},
		"priority 100":       {func(o *dbmodel.Observation) { o.Priority = new(100) }, []string{"priority"}},
		"priority 99":        {func(o *dbmodel.Observation) { o.Priority = new(99) }, nil},
		"score above 10":     {func(o *dbmodel.Observation) { o.CVSSScore = new(10.1) }, []string{"cvss_score"}},
		"score no number":    {func(o *dbmodel.Observation) { o.CVSSScore = new(math.NaN()) }, []string{"cvss_score"}},
		"javascript":         {func(o *dbmodel.Observation) { o.URL = "javascript:alert(1)" }, []string{"url"}},
		"everything at once": {func(o *dbmodel.Observation) { *o = dbmodel.Observation{} }, []string{"id", "product_id", "title", "severity", "status", "parser_type"}},
	} {
		o := good()
		c.change(&o)
		_, err := NewObservations([]dbmodel.Observation{good(), o})
		var invalid InvalidError
		errors.As(err, &invalid)
		var fields []string
		for _, f := range invalid {
			fields = append(fields, strings.TrimPrefix(f.Field, "observations[1]."))
		}
		if diff := cmp.Diff(c.fields, fields); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := NewObservations(make([]dbmodel.Observation, MaxObservations+1)); err == nil {
		t.Error("too many are accepted")
	}
}

func TestNewObservationsKeepsTheLastOfEachInOrder(t *testing.T) {
	t.Parallel()
	list := []dbmodel.Observation{good(), good(), good()}
	list[0].ID, list[1].Severity, list[2].ID = 9, rule.Low, 1
	list[2].Severity = rule.Critical
	event, err := NewObservations(list)
	if err != nil {
		t.Fatal(err)
	}
	if n := event.observations; len(n) != 2 || n[0].ID != 1 || n[0].Severity != rule.Critical || n[1].ID != 9 {
		t.Errorf("kept: %+v", n)
	}
}

func exception(t *testing.T, e TaskExceptionInfo) (fingerprint, arguments string) {
	t.Helper()
	event, err := NewTaskException(e)
	if err != nil {
		t.Fatal(err)
	}
	return event.exception.Fingerprint, string(event.exception.Arguments)
}

func TestArgumentsAreMaskedAtAnyDepth(t *testing.T) {
	t.Parallel()
	_, got := exception(t, TaskExceptionInfo{ExceptionInfo: ExceptionInfo{Class: "E"}, Arguments: map[string]any{
		"file": "a.json", "DB_PASSWORD": "p", "deep": []any{map[string]any{"Api-Key": map[string]any{"x": "y"}, "n": json.Number("1.50")}},
		"session_cookie": 5, "Authorization": nil, "html": "<b>&",
	}})
	want := `{"Authorization":"***","DB_PASSWORD":"***","deep":[{"Api-Key":"***","n":1.50}],"file":"a.json","html":"<b>&","session_cookie":"***"}`
	if got != want {
		t.Errorf("stored %s\nwant   %s", got, want)
	}
}

func TestNumbersDoNotGrow(t *testing.T) {
	t.Parallel()
	_, got := exception(t, TaskExceptionInfo{ExceptionInfo: ExceptionInfo{Class: "E"}, Arguments: map[string]any{
		"plain": json.Number("1.50"), "short": json.Number("1.5E3"), "small": json.Number("2e-7"), "large": json.Number("1e307"),
		"tiny": json.Number("1e-307"), "none": json.Number("0e9"), "digits": json.Number("123456789012345678901e1"),
		"exact": json.Number("-0.123456789012345e3"), "inexact": json.Number("9007199254740993e1"),
	}})
	want := `{"digits":"123456789012345678901e1","exact":-123.456789012345,"inexact":"9007199254740993e1","large":"1e307","none":0,"plain":1.50,"short":1500,"small":0.0000002,"tiny":"1e-307"}`
	if got != want {
		t.Errorf("stored %s\nwant   %s", got, want)
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	base := TaskExceptionInfo{ExceptionInfo: ExceptionInfo{Class: "E", Message: "m", Function: "f"}, Arguments: map[string]any{"a": 1, "b": 2}}
	first, _ := exception(t, base)
	other := base
	other.Arguments = map[string]any{"b": 2, "a": 1}
	other.Trace, other.User, other.ProductID = "elsewhere", "u", 5
	if second, _ := exception(t, other); second != first {
		t.Error("the order of keys, or what does not count, makes a difference")
	}
	none, empty := base, base
	none.Arguments, empty.Arguments = nil, map[string]any{}
	a, _ := exception(t, none)
	if b, _ := exception(t, empty); a != b {
		t.Error("no arguments and empty ones make a difference")
	}
	long := base
	long.Message = strings.Repeat("x", MaxExceptionText+10)
	a, _ = exception(t, long)
	long.Message += "y"
	if b, _ := exception(t, long); a == b {
		t.Error("messages that differ behind the cut are the same")
	}
	given, _ := exception(t, TaskExceptionInfo{ExceptionInfo: ExceptionInfo{Class: "E", Function: "m", Fingerprint: "null"}})
	spelled, _ := exception(t, TaskExceptionInfo{ExceptionInfo: ExceptionInfo{Class: "E", Message: "m", Function: "fingerprint"}})
	if given == spelled {
		t.Error("an exception without a fingerprint is the same as one with")
	}
	own, err := NewOwnFailure(ExceptionInfo{Class: "E", Function: "f", Message: "m"})
	reported, _ := exception(t, TaskExceptionInfo{ExceptionInfo: ExceptionInfo{Class: "E", Function: "f", Message: "m"}})
	if err != nil || own.exception.Fingerprint == reported {
		t.Errorf("what is reported is the same as a failure of Tocsin itself (%v)", err)
	}
	if _, err := NewException(ExceptionInfo{Class: " "}); err == nil {
		t.Error("no class is accepted")
	}
}

func TestExceptionIsCutAndCleaned(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("ü", MaxExceptionText)
	event, err := NewTaskException(TaskExceptionInfo{
		ExceptionInfo: ExceptionInfo{Class: "E\x00", Message: huge, Trace: "start" + huge + "end", User: "\xff"},
		Arguments:     map[string]any{"big": huge, "small": "kept", "token": "hidden"}, ProductID: -1, ObservationID: MaxID + 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	x := event.exception
	if x.Class != "E\uFFFD" || x.User != "\uFFFD" || x.ProductID != 0 || x.ObservationID != 0 {
		t.Errorf("cleaned: %q %q %d %d", x.Class, x.User, x.ProductID, x.ObservationID)
	}
	if len(x.Message) > MaxExceptionText || len(x.Trace) > MaxExceptionText || !strings.HasSuffix(x.Trace, "end") || len(x.Arguments) > MaxExceptionText {
		t.Errorf("lengths %d %d %d", len(x.Message), len(x.Trace), len(x.Arguments))
	}
	if !strings.Contains(string(x.Arguments), `"small":"kept"`) || strings.Contains(string(x.Arguments), "hidden") {
		t.Error("cutting loses what is small, or unmasks")
	}
}

func TestDeepArgumentsAreCut(t *testing.T) {
	t.Parallel()
	var deep any = map[string]any{"token": "hidden"}
	for range 4_500 {
		deep = map[string]any{"a": []any{deep}}
	}
	event, err := NewTaskException(TaskExceptionInfo{ExceptionInfo: ExceptionInfo{Class: "E"}, Arguments: map[string]any{"deep": deep, "flat": "kept"}})
	if err != nil {
		t.Fatal(err)
	}
	text := string(event.exception.Arguments)
	if depth := strings.Count(text, "{") + strings.Count(text, "["); depth != maxArgumentDepth || !strings.Contains(text, `"…"`) {
		t.Errorf("%d objects and lists are kept: %s", depth, text)
	}
	if !strings.Contains(text, `"flat":"kept"`) || strings.Contains(text, "hidden") {
		t.Errorf("cutting loses what is flat, or unmasks: %s", text)
	}
}

func FuzzArguments(f *testing.F) {
	f.Add([]byte(`{"a":{"password":"x"},"b":[1,2.50,"ü"]}`))
	f.Add([]byte(`{"` + strings.Repeat("k", 3000) + `":"` + strings.Repeat(`\"`, 40000) + `"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var arguments map[string]any
		if json.Unmarshal(text, &arguments) != nil {
			return
		}
		event, err := NewTaskException(TaskExceptionInfo{ExceptionInfo: ExceptionInfo{Class: "E"}, Arguments: arguments})
		if err != nil {
			t.Fatal(err)
		}
		stored := event.exception.Arguments
		if len(stored) > MaxExceptionText || !utf8.Valid(stored) || len(stored) > 0 && !json.Valid(stored) || strings.Contains(string(stored), `\u0000`) {
			t.Fatalf("%d bytes: %.200q", len(stored), stored)
		}
	})
}

func TestArgumentsWithLongNamesAreCut(t *testing.T) {
	t.Parallel()
	arguments := map[string]any{}
	for i := range 60 {
		arguments[fmt.Sprintf("%02d", i)+strings.Repeat("\x01", 998)] = i
	}
	_, got := exception(t, TaskExceptionInfo{ExceptionInfo: ExceptionInfo{Class: "E"}, Arguments: arguments})
	if len(got) > MaxExceptionText {
		t.Errorf("%d bytes are stored, want %d at most", len(got), MaxExceptionText)
	}
}
