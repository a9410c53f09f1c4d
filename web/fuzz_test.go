package web

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/mail"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/robfig/cron/v3"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/email"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// hidden stands for what a caller may have put into the wrong place. No fault repeats it: of the names of fields only plain
// words are shown, and this is none.
const hidden = "s3cr3t/a1b2"

// checkRefusal: what is refused is refused with a status of the contract, by faults that hide what was sent.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	p := problemOf(err)
	text, errJSON := json.Marshal(p)
	if errJSON != nil || bytes.Contains(text, []byte(hidden)) || !utf8.Valid(text) || len(p.Errors) > input.MaxFaults {
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

// FuzzObservation: what is taken of an observation is read again from what is answered.
func FuzzObservation(f *testing.F) {
	for _, seed := range observationSeeds {
		f.Add([]byte(seed))
	}
	read := func(observation []byte) ([]dbmodel.Observation, error) {
		body := slices.Concat([]byte(`{"observations":[`), observation, []byte("]}"))
		list, err := input.ReadObservations(bytes.NewReader(body))
		if err == nil {
			_, err = accept.NewObservations(list)
		}
		return list, err
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		list, err := read(sent)
		if err != nil {
			checkRefusal(t, err)
		}
		if err != nil || len(list) != 1 {
			return
		}
		o := list[0]
		answer, err := json.Marshal(observationAnswer{o})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := read(answer); err != nil || !cmp.Equal(list, again) {
			t.Errorf("%q is answered as %q: %v", sent, answer, err)
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
		fuzzFields[deleteFields](t, body)
		fuzzFields[resendFields](t, body)
		fuzzFields[testFields](t, body)
	})
}

func fuzzFields[T any](t *testing.T, body []byte) {
	t.Helper()
	var sent, typed T
	faults, err := input.ReadJSON(bytes.NewReader(body), &sent)
	if err != nil {
		checkRefusal(t, err)
	} else {
		checkFields(t, &sent, faults)
	}
	if form, err := url.ParseQuery(string(body)); err == nil {
		checkFields(t, &typed, input.ReadForm(form, &typed))
	}
}

// checkFields looks at every field that was taken.
func checkFields[T any](t *testing.T, v *T, faults input.Faults) {
	t.Helper()
	if faults != nil {
		checkRefusal(t, invalid(faults...))
	}
	required, _ := input.RequiredFields(reflect.TypeFor[T]())
	for _, info := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		name := info.Tag.Get("json")
		if name == "" {
			continue
		}
		if contacts, is := reflect.TypeAssert[input.Contacts](reflect.ValueOf(v).Elem().FieldByIndex(info.Index)); is {
			checkContacts(t, info.Tag.Get("contacts"), contacts, faults)
			continue
		}
		if slices.ContainsFunc(faults, func(f input.Fault) bool { return f.Location == name }) {
			continue
		}
		f := reflect.ValueOf(v).Elem().FieldByIndex(info.Index)
		if set := f.FieldByName("Set").Bool(); !set || f.FieldByName("Empty").Bool() {
			if slices.Contains(required, name) && !set && !faults.Full() {
				t.Errorf("%s is missing, and that is no fault", name)
			}
			continue
		}
		if value := f.FieldByName("Value").Interface(); !inBounds(value, info.Tag) {
			t.Errorf("%s: %#v is taken", name, value)
		}
	}
}

// checkContacts looks at the contacts that were taken.
func checkContacts(t *testing.T, prefix string, contacts input.Contacts, faults input.Faults) {
	t.Helper()
	for _, c := range rule.SettingChannels {
		f, name := contacts.Field(c), prefix+c.Info().Setting
		if !f.Set || f.Empty || slices.ContainsFunc(faults, func(f input.Fault) bool { return f.Location == name }) {
			continue
		}
		_, err := email.SplitAddresses(f.Value)
		if !inBounds(f.Value, "") || c.Info().ByAddress && err != nil {
			t.Errorf("%s: %q is taken", name, f.Value)
		}
	}
}

func inBounds(value any, tag reflect.StructTag) bool {
	between := func(n int64) bool {
		if lowest, err := strconv.ParseInt(tag.Get("minimum"), 10, 64); err == nil {
			highest, err := strconv.ParseInt(tag.Get("maximum"), 10, 64)
			return err == nil && n >= lowest && n <= highest
		}
		return n >= -accept.MaxID && n <= accept.MaxID
	}
	text := func(s string) bool { return accept.ValidateText(s, accept.MaxText) == "" && s == strings.TrimSpace(s) }
	switch v := value.(type) {
	case bool:
		return true
	case int:
		return between(int64(v))
	case int64:
		return between(v)
	case []int64:
		return len(v) <= input.MaxIDs && !slices.ContainsFunc(v, func(n int64) bool { return n < -accept.MaxID || n > accept.MaxID })
	case time.Time:
		return v.Year() >= 1 && v.Year() <= 9999 && v.Equal(v.Truncate(time.Microsecond))
	case string:
		return text(v)
	case input.Mailbox:
		return email.CheckAddress(string(v)) == nil
	case input.Sender:
		a, err := mail.ParseAddress(string(v))
		return text(string(v)) && err == nil && email.CheckAddress(a.Address) == nil
	case input.Link:
		_, ok := channel.WebLink(strings.NewReplacer("{id}", "1", "{title}", "t").Replace(string(v)))
		return text(string(v)) && ok
	case input.CronLine:
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

// FuzzCursors: a cursor is taken only where it is, byte for byte, one that we give out.
func FuzzCursors(f *testing.F) {
	at := dbmodel.Position{CreatedAt: time.Date(2026, 1, 31, 8, 0, 0, 1000, time.UTC), ID: 7}
	for _, seed := range []string{
		idCursorOf(1), idCursorOf(accept.MaxID), nameCursorOf("alex"), positionCursorOf(at, "created_at"), positionCursorOf(at, "-created_at"), "", "====", "aWQgMDE",
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

// FuzzTexts are the small parsers: addresses to go to after logging in, and payloads as the monitor shows
// them.
func FuzzTexts(f *testing.F) {
	for _, seed := range []string{
		"/products/1?x=1", "//evil.example", "/\\evil.example", "/\t/evil", "https:/evil.example", "/%2f%2fevil.example", "/login?next=/",
		`{"id":1,"message":"` + hidden + `","target_id":"x"}`, `{"id":1e3}`, "null", "\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
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
