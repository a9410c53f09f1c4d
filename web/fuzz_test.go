package web

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/robfig/cron/v3"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/email"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/tasks"
)

// hidden stands for what a caller may have put into the wrong place. No fault repeats it: of the names of fields only plain
// words are shown, and this is none.
const hidden = "s3cr3t/a1b2"

// checkRefusal: what is refused is refused with a status of the contract, by faults that hide what was sent.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	p := problemOf(err)
	text, errJSON := json.Marshal(p)
	if errJSON != nil || bytes.Contains(text, []byte(hidden)) || !utf8.Valid(text) || len(p.Errors) > maxFaults {
		t.Errorf("refused with %s: %v", text, errJSON)
	}
	if p.Status != http.StatusBadRequest && p.Status != http.StatusUnprocessableEntity {
		t.Errorf("refused with %s", text)
	}
	for _, f := range p.Errors {
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
// valid, and read again from what is answered.
func FuzzObservation(f *testing.F) {
	for _, seed := range observationSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			return
		}
		var o tasks.Observation
		faulty := readLine(jsontext.NewDecoder(bytes.NewReader(line), observationOptions...), &o)
		if faulty != nil {
			checkRefusal(t, faulty)
		}
		list, err := readObservations(bytes.NewReader(slices.Concat([]byte(`{"observations":[`), line, []byte("]}"))))
		if err == nil {
			_, err = tasks.NewObservations(list)
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
		answer, err := json.Marshal(observationAnswer{
			ID: o.ID, ProductID: o.ProductID, Title: o.Title, Severity: severity(o.Severity), Status: status(o.Status), Priority: o.Priority,
			ParserType: parserType(o.ParserType), VulnerabilityID: o.VulnerabilityID, CVSSScore: o.CVSSScore, Origin: originAnswer(o.Origin), URL: o.URL,
		})
		if err != nil {
			t.Fatal(err)
		}
		var again tasks.Observation
		if p := readLine(jsontext.NewDecoder(bytes.NewReader(answer), observationOptions...), &again); p != nil || !cmp.Equal(o, again) {
			t.Errorf("%q is answered as %q: %v", line, answer, p)
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
		list, err := readObservations(bytes.NewReader(body))
		if err == nil {
			_, err = tasks.NewObservations(list)
		}
		if err != nil {
			checkRefusal(t, err)
		}
	})
}

// FuzzFields reads any body, and any form, into the fields of every call: what is taken is within its bounds.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{
		`{"name":"Payments API","observation_notification_min_severity":"High","notification_email_to":"payments@example.com","notification_slack_webhook":"https://hooks.slack.com/services/x"}`,
		`{"observation_notification_statuses":["Open","Open",""],"observation_notification_min_priority":100,"notification_paused_until":"2026-01-31T08:00:00+25:00","product_group_id":1.5}`,
		`{"email_from":"Tocsin <tocsin@example.com>","cleanup_cron":"TZ=x","observation_url":"https://x/#/{id}","exception_rate_limit":2592001,"member_notification_types":[]}`,
		`{"ids":[1,2,-3],"until":"2026-01-31T08:00:00Z","passed":null,"role":"owner","state":"failed","channel":"slack","is_admin":"true"}`,
		`{"` + hidden + `":1,"name":["` + hidden + `"],"cleanup_cron":"` + hidden + `"}`, `[]`, `{`, `{}x`, `{"name":"\u0000"}`, `{"name":{"a":{"b":[[[[]]]]}}}`,
		"name=x&observation_notification_statuses=Open&observation_notification_statuses=&notification_slack_webhook.remove=1&is_admin=true", "%zz=" + hidden,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fuzzFields[productFields](t, body)
		fuzzFields[settingsFields](t, body)
		fuzzFields[gateFields](t, body)
		fuzzFields[userFields](t, body)
		fuzzFields[memberFields](t, body)
		fuzzFields[viewedFields](t, body)
		fuzzFields[idsFields](t, body)
		fuzzFields[resendFields](t, body)
		fuzzFields[testFields](t, body)
	})
}

func fuzzFields[T any](t *testing.T, body []byte) {
	t.Helper()
	var sent, typed T
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	faults, err := readFields(dec, &sent)
	if err == nil {
		err = atEnd(dec)
	}
	if err != nil {
		checkRefusal(t, err)
	} else {
		checkFields(t, &sent, faults)
	}
	if form, err := url.ParseQuery(string(body)); err == nil {
		checkFields(t, &typed, readForm(form, &typed))
	}
}

// checkFields looks at every field that was taken.
func checkFields[T any](t *testing.T, v *T, faults faultList) {
	t.Helper()
	if faults != nil {
		checkRefusal(t, invalid(faults...))
	}
	for name, info := range fieldsOf(reflect.TypeFor[T]()) {
		if slices.ContainsFunc(faults, func(f fault) bool { return f.Location == name }) {
			continue
		}
		f := reflect.ValueOf(v).Elem().FieldByIndex(info.index)
		if set := f.FieldByName("Set").Bool(); !set || f.FieldByName("Empty").Bool() {
			if f.Addr().Interface().(readable).mandatory() && !set && !faults.full() {
				t.Errorf("%s is missing, and that is no fault", name)
			}
			continue
		}
		if value := f.FieldByName("Value").Interface(); !inBounds(value, info) {
			t.Errorf("%s: %#v is taken", name, value)
		}
	}
}

func inBounds(value any, info *fieldInfo) bool {
	between := func(n int64) bool {
		if info.min != nil {
			return n >= *info.min && n <= *info.max
		}
		return n >= -tasks.MaxID && n <= tasks.MaxID
	}
	text := func(s string) bool { return tasks.ValidateText(s, tasks.MaxText) == "" && s == strings.TrimSpace(s) }
	switch v := value.(type) {
	case bool:
		return true
	case int:
		return between(int64(v))
	case int64:
		return between(v)
	case []int64:
		return len(v) <= maxIDs && !slices.ContainsFunc(v, func(n int64) bool { return n < -tasks.MaxID || n > tasks.MaxID })
	case time.Time:
		return v.Year() >= 1 && v.Year() <= 9999 && v.Equal(v.Truncate(time.Microsecond))
	case string:
		return text(v)
	case webhook:
		return text(string(v))
	case addresses:
		_, err := email.SplitAddresses(string(v))
		return text(string(v)) && err == nil
	case mailbox:
		return email.CheckAddress(string(v)) == nil
	case sender:
		return text(string(v)) && checkSender(string(v)) == ""
	case link:
		_, ok := channel.WebLink(placeholders.Replace(string(v)))
		return text(string(v)) && ok
	case cronLine:
		schedule, err := cron.ParseStandard(string(v))
		return err == nil && !schedule.Next(time.Now().UTC()).IsZero()
	}
	words := reflect.ValueOf(value) // one, or a list of them
	if words.Kind() == reflect.String {
		return words.String() != ""
	}
	seen := map[string]bool{}
	for i := range words.Len() {
		w := words.Index(i).String()
		if w == "" || seen[w] {
			return false
		}
		seen[w] = true
	}
	return true
}

// FuzzException: whoever reports a fault may be broken. Only broken JSON, unknown fields and a missing class are refused.
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
		for _, known := range [][]string{exceptionFields, taskExceptionFields} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
			e, err := readException(context.WithValue(t.Context(), exchangeKey{}, &exchange{r: r}), known)
			if err == nil {
				_, err = tasks.NewTaskException(*e)
			}
			if err == nil {
				continue
			}
			checkRefusal(t, err)
			var fields map[string]json.RawMessage
			if !utf8.Valid(body) || json.Unmarshal(body, &fields) != nil {
				continue
			}
			missing := strings.TrimSpace(textOf(jsontext.Value(fields["class"]))) == ""
			for name := range fields {
				missing = missing || !slices.Contains(known, name)
			}
			if !missing {
				t.Errorf("%q is refused: %v", body, err)
			}
		}
	})
}

// FuzzCursors: a cursor is taken only where it is, byte for byte, one that we give out.
func FuzzCursors(f *testing.F) {
	at := dbmodel.Position{CreatedAt: time.Date(2026, 1, 31, 8, 0, 0, 1000, time.UTC), ID: 7}
	for _, seed := range []string{
		idCursorOf(1), idCursorOf(tasks.MaxID), nameCursorOf("alex"), positionCursorOf(at, "created_at"), positionCursorOf(at, "-created_at"), "", "====", "aWQgMDE",
		encodeCursor("id 1 "), encodeCursor("id +1"), encodeCursor("-created_at 99999999999999999999 1"), encodeCursor(strings.Repeat("x", 161)),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		if cursor == "" {
			return
		}
		check := func(err error, again string) {
			t.Helper()
			if err != nil {
				checkRefusal(t, err)
			} else if again != cursor {
				t.Errorf("%q is taken as %q", cursor, again)
			}
		}
		id, err := idCursor(cursor)
		check(err, idCursorOf(id))
		name, err := nameCursor(cursor)
		check(err, nameCursorOf(name))
		for _, sort := range []string{"created_at", "-created_at"} {
			p, err := positionCursor(cursor, sort)
			if p == nil {
				p = &dbmodel.Position{}
			}
			check(err, positionCursorOf(*p, sort))
		}
	})
}

// FuzzTexts are the small parsers: times, cron lines, addresses to go to after logging in, and payloads as the monitor shows
// them.
func FuzzTexts(f *testing.F) {
	for _, seed := range []string{
		"2026-01-31T08:00:00Z", "2026-01-31T08:00:00.123456789+14:00", "0000-12-31T23:59:59-00:01", "9999-12-31T23:59:59-01:00", "0 3 * * *", "@every 1ns", "@yearly", "TZ=UTC 0 3 * * *",
		"0 0 30 2 *", "*/0 * * * *", "60 * * * *", "/products/1?x=1", "//evil.example", "/\\evil.example", "/\t/evil", "https:/evil.example", "/%2f%2fevil.example", "/login?next=/",
		`{"id":1,"message":"` + hidden + `","target_id":"x"}`, `{"id":1e3}`, "null", "\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if at, ok := parseTime(text); ok {
			if again, ok := parseTime(at.Format(time.RFC3339Nano)); !ok || !again.Equal(at) || at.Location() != time.UTC {
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
		path := localPath(text)
		u, err := (&url.URL{Scheme: "https", Host: "tocsin.example", Path: "/login"}).Parse(path)
		if err != nil || u.Host != "tocsin.example" || u.Scheme != "https" || strings.ContainsAny(path, "\r\n\t\\") || strings.HasPrefix(path, "//") || path[0] != '/' {
			t.Errorf("%q leads to %q", text, path)
		}
		shown := monitorPayload("x", []byte(text))
		var numbers map[string]int64
		if shown != "(not shown)" && (json.Unmarshal([]byte(shown), &numbers) != nil || len(numbers) > 4) {
			t.Errorf("%q is shown as %q", text, shown)
		}
	})
}
