package web

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/tasks"
)

// field is a value in a body that may be left out: then Set is false. null, "" and [] are Empty; what that means is said
// where the field is used.
type field[T any] struct {
	Set   bool
	Empty bool
	Null  bool // and Empty
	Value T
}

// Texts with a form of their own.
type (
	addresses string // comma-separated email addresses
	sender    string // an email address, with or without a display name
	mailbox   string // one email address, without a display name
	webhook   string // the URL of a webhook, or its redacted form
	link      string // an address with {id} or {title}
	cronLine  string
)

// readable is implemented by every field.
type readable interface {
	read(v jsontext.Value) string
	mandatory() bool
}

// apply sets *to to the value, where the field is set; to empty where it is empty.
func apply[T, V any](f field[T], to *V, empty V, convert func(T) V) {
	switch {
	case !f.Set:
	case f.Empty:
		*to = empty
	default:
		*to = convert(f.Value)
	}
}

// same and pointer are conversions for apply.
func same[T any](v T) T     { return v }
func pointer[T any](v T) *T { return new(v) }

// must is a field that has to be there.
type must[T any] struct{ field[T] }

func (*field[T]) mandatory() bool { return false }
func (*must[T]) mandatory() bool  { return true }

// isEmpty reports whether a value is null, "" or [].
func isEmpty(v jsontext.Value) bool {
	k := v.Kind()
	return k == 'n' || k == '"' && len(v) == 2 || k == '[' && strings.TrimSpace(string(v[1:len(v)-1])) == ""
}

const (
	mustBeText  = "must be a text"
	mustBeWhole = "must be a whole number"
)

// read takes the value and returns what is wrong with it.
func (f *field[T]) read(v jsontext.Value) string {
	f.Set = true
	if _, truth := any(&f.Value).(*bool); isEmpty(v) && (!truth || v.Kind() == 'n') {
		f.Empty, f.Null = true, v.Kind() == 'n'
		return ""
	}
	switch to := any(&f.Value).(type) {
	case *bool:
		if k := v.Kind(); k != 't' && k != 'f' {
			return "must be true, false or null"
		}
		*to = v.Kind() == 't'
	case *int:
		n, message := wholeNumber(v)
		*to = int(n)
		return message
	case *int64:
		n, message := wholeNumber(v)
		*to = n
		return message
	case *time.Time:
		return readTime(v, to)
	case *rule.Severity:
		return wordIn(v, rule.Severities, to)
	case *rule.ParserType:
		return wordIn(v, rule.ParserTypes, to)
	case *[]rule.Status:
		return wordsIn(v, rule.Statuses, to)
	case *[]rule.Type:
		return wordsIn(v, memberTypes, to)
	case *string:
		return textIn(v, to, nil)
	case *addresses:
		return textIn(v, (*string)(to), checkAddresses)
	case *sender:
		return textIn(v, (*string)(to), checkSender)
	case *mailbox:
		return textIn(v, (*string)(to), checkMailbox)
	case *rule.Role:
		return wordIn(v, rule.Roles, to)
	case *rule.Channel:
		return wordIn(v, rule.Channels, to)
	case *[]int64:
		return idsIn(v, to)
	case *webhook:
		return textIn(v, (*string)(to), nil) // checked where the stored one is known
	case *link:
		return textIn(v, (*string)(to), checkLink)
	case *cronLine:
		return textIn(v, (*string)(to), checkCron)
	default:
		panic(fmt.Sprintf("web: a field of %T", to))
	}
	return ""
}

func text(v jsontext.Value) (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	b, err := jsontext.AppendUnquote(nil, v)
	return string(b), err == nil
}

// textIn reads a text; check says what is wrong with it.
func textIn(v jsontext.Value, to *string, check func(string) string) string {
	s, ok := text(v)
	if !ok {
		return mustBeText
	}
	if message := tasks.ValidateText(s, tasks.MaxText); message != "" {
		return message
	}
	*to = strings.TrimSpace(s)
	if check == nil {
		return ""
	}
	return check(*to)
}

func wholeNumber(v jsontext.Value) (int64, string) {
	if v.Kind() != '0' {
		return 0, mustBeWhole
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || n > tasks.MaxID || n < -tasks.MaxID {
		return 0, mustBeWhole
	}
	return n, ""
}

func wordIn[T ~string](v jsontext.Value, words []T, to *T) string {
	if s, ok := text(v); ok && slices.Contains(words, T(s)) {
		*to = T(s)
		return ""
	}
	return "must be one of " + list(words)
}

// wordsIn reads a list of words; one that comes twice is taken once.
func wordsIn[T ~string](v jsontext.Value, words []T, to *[]T) string {
	message := "must be a list out of " + list(words)
	entries, ok := elements(v)
	if !ok {
		return message
	}
	for _, e := range entries {
		var word T
		if wordIn(e, words, &word) != "" {
			return message
		}
		if !slices.Contains(*to, word) {
			*to = append(*to, word)
		}
	}
	return ""
}

// maxIDs is how many ids one call takes.
const maxIDs = 250

func idsIn(v jsontext.Value, to *[]int64) string {
	entries, ok := elements(v)
	if !ok || len(entries) > maxIDs {
		return fmt.Sprintf("must be a list of at most %d ids", maxIDs)
	}
	for _, e := range entries {
		id, message := wholeNumber(e)
		if message != "" {
			return "must be a list of whole numbers"
		}
		*to = append(*to, id)
	}
	return ""
}

// elements splits a JSON array.
func elements(v jsontext.Value) ([]jsontext.Value, bool) {
	if v.Kind() != '[' {
		return nil, false
	}
	dec := jsontext.NewDecoder(strings.NewReader(string(v)))
	if _, err := dec.ReadToken(); err != nil {
		return nil, false
	}
	var out []jsontext.Value
	for dec.PeekKind() != ']' {
		e, err := dec.ReadValue()
		if err != nil {
			return nil, false
		}
		out = append(out, e.Clone())
	}
	return out, true
}

func list[T ~string](words []T) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = string(w)
	}
	return strings.Join(out, ", ")
}

const mustBeTime = "must be a time with a zone, like 2026-01-31T08:00:00Z"

func readTime(v jsontext.Value, to *time.Time) string {
	s, ok := text(v)
	if !ok {
		return mustBeTime
	}
	t, ok := parseTime(s)
	if !ok {
		return mustBeTime
	}
	*to = t
	return ""
}

// parseTime reads a time as RFC 3339 writes it, in the precision and within the years that both databases keep.
func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, s)
	t = t.UTC().Truncate(time.Microsecond)
	return t, err == nil && t.Year() >= 1 && t.Year() <= 9999
}

// fieldInfo is one field of a body.
type fieldInfo struct {
	index    []int
	min, max *int64
}

// readFields reads one JSON object into the fields of the struct v, which are all field or must. It returns every faulty
// field; the error, a *problem, is for JSON that is broken or no object. The tags minimum and maximum are checked, those
// that say the same in the OpenAPI document.
func readFields[T any](dec *jsontext.Decoder, v *T) (faultList, error) {
	infos := fieldsOf(reflect.TypeFor[T]())
	if dec.PeekKind() != '{' {
		return nil, notAnObject(dec)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, brokenJSON(err, dec)
	}
	var faults faultList
	value := reflect.ValueOf(v).Elem()
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, brokenJSON(err, dec)
		}
		name := token.String()
		raw, err := dec.ReadValue()
		if err != nil {
			return nil, brokenJSON(err, dec)
		}
		info, known := infos[name]
		if !known {
			faults.add(faultyName(name), "is not a field of this call")
			continue
		}
		to := value.FieldByIndex(info.index)
		message := to.Addr().Interface().(readable).read(raw)
		if message == "" {
			message = info.inRange(raw)
		}
		if message != "" {
			faults.add(name, message)
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, brokenJSON(err, dec)
	}
	for name, info := range infos {
		f := value.FieldByIndex(info.index)
		if f.Addr().Interface().(readable).mandatory() && !f.FieldByName("Set").Bool() {
			faults.addOnce(name, "is required")
		}
	}
	return faults, nil
}

// inRange says what is wrong with a number, by its tags.
func (i *fieldInfo) inRange(v jsontext.Value) string {
	if v.Kind() != '0' || i.min == nil {
		return ""
	}
	if n, _ := wholeNumber(v); n < *i.min || n > *i.max {
		return fmt.Sprintf("must be from %d to %d", *i.min, *i.max)
	}
	return ""
}

func fieldsOf(t reflect.Type) map[string]*fieldInfo {
	out := map[string]*fieldInfo{}
	for _, f := range reflect.VisibleFields(t) {
		name := f.Tag.Get("json")
		if name == "" {
			continue // an embedded struct, or what is in a field
		}
		info := &fieldInfo{index: f.Index}
		if lowest, err := strconv.ParseInt(f.Tag.Get("minimum"), 10, 64); err == nil {
			highest, _ := strconv.ParseInt(f.Tag.Get("maximum"), 10, 64) // both or none
			info.min, info.max = &lowest, &highest
		}
		out[name] = info
	}
	return out
}

// Schema implements huma.SchemaProvider.
func (f field[T]) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString, Nullable: true}
	switch any(f.Value).(type) {
	case bool:
		s.Type = huma.TypeBoolean
	case int, int64:
		s.Type = huma.TypeInteger
	case time.Time:
		s.Format = "date-time"
	case rule.Severity:
		s.Enum = append(enum(rule.Severities), "", nil)
	case rule.ParserType:
		s.Enum = append(enum(rule.ParserTypes), "", nil)
	case []rule.Status:
		s.Type, s.Items = huma.TypeArray, &huma.Schema{Type: huma.TypeString, Enum: enum(rule.Statuses)}
	case rule.Role:
		s.Enum, s.Nullable = enum(rule.Roles), false
	case rule.Channel:
		s.Enum = append(enum(rule.Channels), "", nil)
	case []int64:
		s.Type, s.Items, s.MaxItems = huma.TypeArray, &huma.Schema{Type: huma.TypeInteger}, new(maxIDs)
	case []rule.Type:
		s.Type, s.Items = huma.TypeArray, &huma.Schema{Type: huma.TypeString, Enum: enum(memberTypes)}
	case webhook:
		s.Description = "The URL of a webhook. Answers show its redacted form, which may be sent back and then changes nothing."
	}
	return s
}

func enum[T ~string](words []T) []any {
	out := make([]any, len(words))
	for i, w := range words {
		out[i] = string(w)
	}
	return out
}
