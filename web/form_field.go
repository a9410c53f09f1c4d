package web

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// fieldKind says how a field of a form is filled in.
type fieldKind string

const (
	textField    fieldKind = "text"
	numberField  fieldKind = "number"
	choiceField  fieldKind = "choice"  // one of Options
	choicesField fieldKind = "choices" // any of Options
	webhookField fieldKind = "webhook" // write-only
	timeField    fieldKind = "time"
	checkField   fieldKind = "check"
)

// formField is a field of a form as its template shows it.
type formField struct {
	Name     string
	Label    string
	Help     string
	Unit     string
	Default  string // what holds where it is left empty; empty: nothing
	Kind     fieldKind
	Value    string // of a webhook its redacted address, which is shown beside the field and never in it
	Min      int
	Max      int
	Options  []option
	Fault    string
	ReadOnly bool
	Lost     bool     // what was typed is not shown again: it may be a secret
	was      *string  // see Was; nil: what stands there now
	Applies  *applied // of a setting that may come from somewhere else
}

// Shown is the value of a field that is read-only, in words.
func (f *formField) Shown() string {
	var words []string
	for _, o := range f.Options {
		if o.Chosen {
			words = append(words, o.Label)
		}
	}
	if f.Value != "" {
		words = append(words, strings.TrimSpace(f.Value+" "+f.Unit))
	}
	if len(words) == 0 {
		return "Not set"
	}
	return strings.Join(words, ", ")
}

// option is a word to choose.
type option struct {
	Value, Label string
	Chosen       bool
}

// applied says which value applies, and where it comes from.
type applied struct {
	Words     string
	From      linkTo // "from group Payments"; without a text: from nowhere; without a path: set here
	Own       bool   // set here
	Inherited string // what would hold without the own value, with its source; empty: nothing
}

// Collapsed reports whether the field stays behind a button: what it would override applies.
func (f formField) Collapsed() bool {
	return !f.ReadOnly && f.Fault == "" && !f.filled() && f.Applies != nil && f.Applies.From.Path != ""
}

// Was is what stood in the field when somebody began to fill in the form, see input.WasSuffix.
func (f formField) Was() string {
	switch {
	case f.was != nil:
		return *f.was
	case f.Kind != choiceField && f.Kind != choicesField:
		return f.Value
	}
	var chosen []string
	for _, o := range f.Options {
		if o.Chosen {
			chosen = append(chosen, o.Value)
		}
	}
	return strings.Join(chosen, ",")
}

// filled reports whether the field has a value of its own, or was given one that was refused.
func (f formField) filled() bool {
	value := f.Value != "" && (f.Kind != checkField || f.Value == "true")
	return value || f.Lost || slices.ContainsFunc(f.Options, func(o option) bool { return o.Chosen && o.Value != "" })
}

// typed puts what somebody has sent into a field, so that a form which is refused keeps it.
func (f *formField) typed(form url.Values, faults formFaults) {
	f.Fault = faults[f.Name]
	texts, sent := form[f.Name]
	was := f.Was()
	if form.Has(f.Name + input.WasSuffix) {
		was = form.Get(f.Name + input.WasSuffix)
	}
	f.was = &was
	switch f.Kind {
	case webhookField:
		f.Lost = form.Get(f.Name) != ""
	case choiceField, choicesField:
		for i := range f.Options {
			f.Options[i].Chosen = slices.Contains(texts, f.Options[i].Value)
		}
	case checkField:
		f.Value = form.Get(f.Name)
		if sent {
			f.Value = texts[len(texts)-1]
		}
	case textField, numberField, timeField:
		if sent {
			f.Value = form.Get(f.Name)
		}
	}
}

// typedAll is typed for all fields of a form.
func typedAll(fields []formField, form url.Values, faults formFaults) {
	for i := range fields {
		fields[i].typed(form, faults)
	}
}

// choices makes options of words; empty is the label of the choice of none, and is left out where it is "".
func choices[T ~string](words []T, empty string, chosen ...T) []option {
	var out []option
	if empty != "" {
		out = append(out, option{"", empty, len(chosen) == 0 || chosen[0] == ""})
	}
	for _, w := range words {
		out = append(out, option{string(w), string(w), slices.Contains(chosen, w)})
	}
	return out
}

// eventChoices are the choices of events, in words: "none" beside a box would read as no event.
func eventChoices(empty string, chosen ...rule.Event) []option {
	out := choices(rule.Events, empty, chosen...)
	for i := range out {
		if out[i].Value != "" {
			out[i].Label = eventInWords(rule.Event(out[i].Value))
		}
	}
	return out
}

func eventInWords(e rule.Event) string {
	if e == rule.EventNoResult {
		return "no result"
	}
	return string(e)
}

// numeral is a number in a form; empty for none.
func numeral(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

// contactField is the field of the contacts of one channel.
func contactField(prefix string, c rule.Channel, value string) formField {
	info := c.Info()
	f := formField{
		Name: prefix + info.Setting, Label: info.Name + " webhook", Kind: webhookField, Value: value, Help: info.Help,
	}
	if info.ByAddress {
		f.Label, f.Kind = info.Name+" to", textField
	}
	return f
}

// channelName is how a channel is called.
func channelName(c rule.Channel) string { return c.Info().Name }
