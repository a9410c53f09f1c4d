package web

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/rule"
)

// removeSuffix ends the name of the check box that empties a webhook: its own field is empty where nothing changes, because
// a page does not repeat what is stored.
const removeSuffix = ".remove"

// wasSuffix ends the name of the hidden field that says what stood in a field when its page was made: of two people who change
// different fields at once none undoes what the other did.
const wasSuffix = ".was"

// readForm reads what a form sends into the fields of v, each by the rule that reads it in a JSON body; so a page takes what
// the API takes, and names faults with the same words. A field whose name the form does not have is left out, and one that
// nobody touched. A webhook that is left empty is left out, too, unless its check box says that it is removed.
func readForm[T any](form url.Values, v *T) faultList {
	var faults faultList
	value := reflect.ValueOf(v).Elem()
	for name, info := range fieldsOf(reflect.TypeFor[T]()) {
		to := value.FieldByIndex(info.index).Addr().Interface()
		texts, sent := form[name]
		if was, known := form[name+wasSuffix]; known && was[0] == shownText(texts) {
			sent = false
		}
		if _, is := to.(*field[webhook]); is {
			switch {
			case form.Get(name+removeSuffix) != "":
				texts, sent = nil, true
			case strings.TrimSpace(strings.Join(texts, "")) == "":
				sent = false
			}
		}
		if !sent {
			if to.(readable).mandatory() {
				faults.add(name, "is required")
			}
			continue
		}
		raw := formValue(to, texts)
		message := to.(readable).read(raw)
		if message == "" {
			message = info.inRange(raw)
		}
		if message != "" {
			faults.add(name, message)
		}
	}
	return faults
}

// shownText is what a field shows, as its hidden field says it: boxes that are checked with commas between them. What stands
// before a box, and is sent where it is not checked, is no text of its own.
func shownText(texts []string) string {
	if len(texts) > 1 {
		texts = texts[1:]
	}
	return strings.Join(texts, ",")
}

// formValue is what a form says for a field, as JSON would say it. What cannot be said so stays a text, and is refused as one.
func formValue(to any, texts []string) jsontext.Value {
	last := ""
	if len(texts) > 0 {
		last = strings.TrimSpace(texts[len(texts)-1]) // an unchecked box sends what a hidden field before it does
	}
	switch to.(type) {
	case *field[[]rule.Status], *field[[]rule.Type]:
		entries := []string{}
		for _, t := range texts {
			if t != "" { // a hidden field says that no box was checked
				entries = append(entries, t)
			}
		}
		return jsonValue(entries)
	case *field[int], *field[int64]:
		if _, err := strconv.ParseInt(last, 10, 64); err == nil {
			return jsontext.Value(last)
		}
	case *field[bool]:
		return jsonValue(last == "true")
	case *field[time.Time]:
		return jsonValue(formTime(last))
	}
	return jsonValue(last)
}

func jsonValue(v any) jsontext.Value {
	b, err := json.Marshal(v)
	if err != nil {
		return jsontext.Value("null") // texts and truths only
	}
	return b
}

// formTimeLayout is how browsers send a date with a time.
const formTimeLayout = "2006-01-02T15:04"

// formTime makes an RFC 3339 time of what a browser sends for a date with a time, which the pages say is UTC.
func formTime(text string) string {
	for _, layout := range []string{formTimeLayout, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.Format(time.RFC3339)
		}
	}
	return text
}

// formFaults are the messages of a form by field, as its template shows them beside the fields.
type formFaults map[string]string

// faultsIn returns the faults of a form that was refused. ok is false for errors that are about something else.
func faultsIn(err error) (f formFaults, ok bool) {
	if err == nil {
		return nil, false
	}
	p := problemOf(err)
	if p.Status != http.StatusUnprocessableEntity || len(p.Errors) == 0 {
		return nil, false
	}
	f = formFaults{}
	for _, e := range p.Errors {
		f[e.Location] = e.Message
	}
	return f, true
}

// queryWord is a word in the address of a page; what is none of words counts as left out.
func queryWord[T ~string](r *http.Request, name string, words []T) T {
	for _, w := range words {
		if r.FormValue(name) == string(w) {
			return w
		}
	}
	return ""
}

// queryText is a text in the address of a page, without what no database takes.
func queryText(r *http.Request, name string) string {
	const longest = 1000
	text := strings.ToValidUTF8(strings.ReplaceAll(strings.TrimSpace(r.FormValue(name)), "\x00", ""), "")
	return strings.ToValidUTF8(text[:min(len(text), longest)], "")
}

// queryID is a number in the address of a page, 0 where there is none.
func queryID(r *http.Request, name string) int64 {
	id, err := strconv.ParseInt(r.FormValue(name), 10, 64)
	if err != nil || id < 1 {
		return 0
	}
	return id
}

// withQuery is a path with parameters; pairs are names and values, and those without a value are left out.
func withQuery(path string, pairs ...string) string {
	q := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		if value := pair[1]; value != "" && value != "0" {
			q.Set(pair[0], value)
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
