package input

import (
	"encoding/json"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/rule"
)

// RemoveSuffix ends the name of the check box that empties a webhook. The webhook's own field is empty where nothing
// changes, because a page does not repeat what is stored.
const RemoveSuffix = ".remove"

// WasSuffix ends the name of the hidden field that says what stood in a field when its page was made: where two people
// change different fields at once, neither undoes the change of the other.
const WasSuffix = ".was"

// ReadForm reads a form into the fields of v, each by the rule that reads it in a JSON body; so a page takes what the
// API takes, and names faults with the same words. It leaves out a field whose name the form does not have, one that
// was not changed, and a webhook that is empty, unless its check box asks to remove it.
func ReadForm[T any](form url.Values, v *T) Faults {
	var faults Faults
	value := reflect.ValueOf(v).Elem()
	for name, info := range fieldsOf(reflect.TypeFor[T]()) {
		to := info.of(value)
		texts, sent := form[name]
		if was, known := form[name+WasSuffix]; known && was[0] == shownText(texts) {
			sent = false
		}
		if f, is := to.(*ContactField); is && f.isWebhook() {
			switch {
			case form.Get(name+RemoveSuffix) != "":
				texts, sent = nil, true
			case strings.TrimSpace(strings.Join(texts, "")) == "":
				sent = false
			}
		}
		if !sent {
			if to.mandatory() {
				faults.Add(name, "is required")
			}
			continue
		}
		if message := info.read(to, formValue(to, texts)); message != "" {
			faults.Add(name, message)
		}
	}
	return faults
}

// shownText is what a field shows, as its hidden field says it: the checked boxes with commas between them. The first
// text is that of the hidden field before the boxes, where there are several.
func shownText(texts []string) string {
	if len(texts) > 1 {
		texts = texts[1:]
	}
	return strings.Join(texts, ",")
}

// formValue is what a form says for a field, as JSON would say it. What cannot be said so stays a text, and is refused
// as one.
func formValue(to any, texts []string) jsontext.Value {
	last := ""
	if len(texts) > 0 {
		last = strings.TrimSpace(texts[len(texts)-1]) // an unchecked box sends the text of the hidden field before it
	}
	switch to.(type) {
	case *Field[[]rule.Status], *Field[[]rule.Type], *Field[AnyTypes], *Field[[]rule.Event], *Field[[]rule.ParserType]:
		entries := []string{}
		for _, t := range texts {
			if t != "" { // a hidden field says that no box was checked
				entries = append(entries, t)
			}
		}
		return jsonValue(entries)
	case *Field[int], *Field[int64], *ID, *Priority:
		if _, err := strconv.ParseInt(last, 10, 64); err == nil {
			return jsontext.Value(last)
		}
	case *Field[bool]:
		return jsonValue(last == "true")
	case *Field[OnlyTrue]:
		if last != "true" {
			return jsontext.Value("null")
		}
		return jsontext.Value("true")
	case *Field[time.Time]:
		return jsonValue(FormTime(last, time.UTC))
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

// FormTimeLayout is how browsers send a date with a time.
const FormTimeLayout = "2006-01-02T15:04"

// FormTime makes an RFC 3339 time of the date with a time that a browser sends, by the clock of a zone. Another text
// stays as it is.
func FormTime(text string, zone *time.Location) string {
	for _, layout := range []string{FormTimeLayout, "2006-01-02T15:04:05"} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t.Format(time.RFC3339)
		}
	}
	return text
}
