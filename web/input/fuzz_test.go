package input

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/robfig/cron/v3"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
)

// hidden stands for what a caller may have put into the wrong place. No fault repeats it: of the names of fields only plain
// words are shown, and this is none.
const hidden = "s3cr3t/a1b2"

// checkRefusal: an input is refused with an error of this package, or of tasks, that hides what was sent.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	var faults Faults
	var broken *SyntaxError
	var line *LineError
	var refused accept.InvalidError
	switch {
	case errors.As(err, &faults):
	case errors.As(err, &line):
		faults = line.Faults
	case errors.As(err, &refused), errors.As(err, &broken):
	default:
		t.Errorf("refused with %T: %v", err, err)
	}
	for _, f := range refused {
		faults = append(faults, Fault{Location: f.Field, Message: f.Message})
	}
	text, errJSON := json.Marshal(faults)
	text = append(text, err.Error()...)
	if errJSON != nil || bytes.Contains(text, []byte(hidden)) || !utf8.Valid(text) || refused == nil && len(faults) > MaxFaults {
		t.Errorf("refused with %s: %v", text, errJSON)
	}
	for _, f := range faults {
		if f.Message == "" || len(f.Location) > 200 {
			t.Errorf("fault %+v", f)
		}
	}
}

var observationSeeds = []string{
	`{"id": 12, "product_id": 7, "title": "CVE-2026-1234", "severity": "Critical", "status": "Open", "priority": null, "parser_type": "SCA"}`,
	`{"id":1,"product_id":1,"title":"t","severity":"High","status":"In review","priority":5,"parser_type":"SAST","vulnerability_id":"CVE-1","cvss_score":9.8,"origin":"image x","url":"https://x.example/1"}`,
	`{"id":9007199254740991,"product_id":1,"title":"ü🚨","severity":"\u0048igh","status":"Open","priority":99,"parser_type":"Other","origin":{"component":"openssl","image":null,"file":"","endpoint":[]}}`,
	`{"id":1.0,"product_id":-1,"title":"\u0000","severity":"high","status":[],"priority":0,"parser_type":{},"cvss_score":1e400,"url":"javascript:1","origin":{"x":1}}`,
	`{"id":1,"id":2,"` + hidden + `":"` + hidden + `","severity":"` + hidden + `"}`,
	`{"id":` + strings.Repeat("9", 400) + `}`, `[1]`, `null`, `{`, `{}{}`, "\xef\xbb\xbf{}", `{"title":"\ud800"}`, `{"title":"` + "\xff" + `"}`,
	`{"origin":` + strings.Repeat(`{"origin":`, 200) + `1` + strings.Repeat(`}`, 201),
}

// FuzzObservation reads one observation as a line and as the only one of a JSON body: both take the same, and what is taken is
// valid.
func FuzzObservation(f *testing.F) {
	for _, seed := range observationSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			return
		}
		var o dbmodel.Observation
		faulty := readLine(jsontext.NewDecoder(bytes.NewReader(line), observationOptions...), &o)
		if faulty != nil {
			checkRefusal(t, faulty)
		}
		list, err := ReadObservations(bytes.NewReader(slices.Concat([]byte(`{"observations":[`), line, []byte("]}"))))
		if err == nil {
			_, err = accept.NewObservations(list)
		}
		if err != nil {
			checkRefusal(t, err)
		}
		if len(list) < 2 && (faulty == nil) != (err == nil) {
			t.Errorf("%q: as a line %v, in a body %v", line, faulty, err)
		}
		if faulty != nil || err != nil || len(list) != 1 {
			return
		}
		if diff := cmp.Diff(o, list[0]); diff != "" {
			t.Errorf("%q: as a line, and in a body:\n%s", line, diff)
		}
	})
}

// FuzzObservations reads a whole JSON body.
func FuzzObservations(f *testing.F) {
	for _, seed := range observationSeeds {
		f.Add([]byte(`{"observations":[` + seed + `]}`))
	}
	f.Add([]byte(`{"observations":[` + observationSeeds[0] + `,` + observationSeeds[1] + `],"x":1}`))
	f.Add([]byte(`{"observations":{},"` + hidden + `":1}`))
	f.Add([]byte(`{"observations":[` + strings.Repeat("1,", 200) + `1]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := ReadObservations(bytes.NewReader(body))
		if err == nil {
			_, err = accept.NewObservations(list)
		}
		if err != nil {
			checkRefusal(t, err)
		}
	})
}

// FuzzException: a program that reports a fault may be faulty itself. Only broken JSON, unknown fields and a missing class are refused.
func FuzzException(f *testing.F) {
	for _, seed := range []string{
		`{"class":"KeyError","message":"no such key","trace":"at x","user":"alex","function":"GET /x","fingerprint":"f"}`,
		`{"class":1.50,"message":{"a":[1]},"trace":null,"user":true,"function":[],"product_id":"7","observation_id":1e3,"arguments":[1,2]}`,
		`{"class":"E\u0000","message":"` + "\xff" + `","arguments":{"password":"` + hidden + `","a":{"TOKEN":["` + hidden + `"]}}}`,
		`{"class":"` + strings.Repeat("ü", 600) + `","message":"` + strings.Repeat("🚨", 2_000) + `","arguments":{"a":"` + strings.Repeat(`\"`, 4_000) + `"}}`,
		`{"class":"E","arguments":{"n":1e999999,"m":-0.0,"d":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}}`,
		`{"message":"m"}`, `{"class":" "}`, `{"class":"E","x":1}`, `{"class":"E"`, `{"class":"\ud800"}`, `{"class":"E","class":""}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, kind := range []struct {
			read  func(io.Reader) (*accept.TaskExceptionInfo, error)
			known map[string]any
		}{
			{ReadException, exceptionFields(new(accept.TaskExceptionInfo))},
			{ReadTaskException, taskExceptionFields(new(accept.TaskExceptionInfo))},
		} {
			e, err := kind.read(bytes.NewReader(body))
			if err == nil {
				_, err = accept.NewTaskException(*e)
			}
			if err == nil {
				continue
			}
			checkRefusal(t, err)
			var fields map[string]json.RawMessage
			if !utf8.Valid(body) || json.Unmarshal(body, &fields) != nil {
				continue
			}
			missing := strings.TrimSpace(anyText(jsontext.Value(fields["class"]))) == ""
			for name := range fields {
				missing = missing || kind.known[name] == nil
			}
			if !missing {
				t.Errorf("%q is refused: %v", body, err)
			}
		}
	})
}

// FuzzTexts are the small parsers: times and cron lines.
func FuzzTexts(f *testing.F) {
	for _, seed := range []string{
		"2026-01-31T08:00:00Z", "2026-01-31T08:00:00.123456789+14:00", "0000-12-31T23:59:59-00:01",
		"9999-12-31T23:59:59-01:00", "0 3 * * *", "@every 1ns", "@yearly", "TZ=UTC 0 3 * * *", "0 0 30 2 *", "*/0 * * * *",
		"60 * * * *", "null", "\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if at, ok := ParseTime(text); ok {
			if again, ok := ParseTime(at.Format(time.RFC3339Nano)); !ok || !again.Equal(at) || at.Location() != time.UTC {
				t.Errorf("%q: %v, and then %v", text, at, again)
			}
		}
		if checkCron(text) == "" {
			schedule, err := cron.ParseStandard(text)
			if err != nil {
				t.Fatalf("%q passes: %v", text, err)
			}
			now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			if next := schedule.Next(now); !next.After(now) {
				t.Errorf("%q: what comes next after %v is %v", text, now, next)
			}
		}
	})
}
