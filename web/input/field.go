package input

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
)

// Field is a value in a body that may be left out: then Set is false. null, "" and [] are Empty; what that means
// depends on the field.
type Field[T any] struct {
	Set   bool
	Empty bool
	Null  bool // and Empty
	Value T
}

// Must is a field that has to be there.
type Must[T any] struct{ Field[T] }

// Numbers whose bounds come from elsewhere. Other numbers have theirs in the tags minimum and maximum.
type (
	// ID is an id that the web tier or Tocsin has given.
	ID struct{ Field[int64] }
	// MustID is an ID that has to be there.
	MustID struct{ ID }
	// Priority is the priority of an observation.
	Priority struct{ Field[int] }
)

// Texts with a form of their own.
type (
	// Sender is an email address, with or without a display name.
	Sender string
	// Mailbox is one email address, without a display name.
	Mailbox string
	// Link is an address with {id} or {title}.
	Link string
	// CronLine is a cron line of five fields.
	CronLine string
	// OnlyTrue is true, or left empty: false is no value of its own.
	OnlyTrue bool
	// AnyTypes are types of notifications, those too that only administrators see.
	AnyTypes []rule.Type
	// ContactList is the contacts of a subscription.
	ContactList []Contact
)

// Object is a JSON object, which ReadJSON reads into fields of its own.
type Object []byte

// readable is implemented by every field.
type readable interface {
	read(v jsontext.Value) string
	mandatory() bool
}

func (*Field[T]) mandatory() bool { return false }
func (*Must[T]) mandatory() bool  { return true }
func (*MustID) mandatory() bool   { return true }

// bounded is implemented by fields that are numbers with bounds of their own.
type bounded interface {
	bounds() (lowest, highest int64)
}

func (*ID) bounds() (lowest, highest int64)       { return 1, accept.MaxID }
func (*Priority) bounds() (lowest, highest int64) { return rule.MinPriority, rule.MaxPriority }

// Apply sets *to to the value, where the field is set; to empty where it is empty.
func Apply[T, V any](f Field[T], to *V, empty V, convert func(T) V) {
	switch {
	case !f.Set:
	case f.Empty:
		*to = empty
	default:
		*to = convert(f.Value)
	}
}

// Same is a conversion for Apply: the value itself.
func Same[T any](v T) T { return v }

// Pointer is a conversion for Apply: a pointer to the value.
func Pointer[T any](v T) *T { return new(v) }

// isEmpty reports whether a value is null, "" or [].
func isEmpty(v jsontext.Value) bool {
	k := v.Kind()
	return k == 'n' || k == '"' && len(v) == 2 || k == '[' && strings.TrimSpace(string(v[1:len(v)-1])) == ""
}

const (
	mustBeText  = "must be a text"
	mustBeWhole = "must be a whole number"
	// MustBeTime is the fault of a text that is no time.
	MustBeTime = "must be a time with a zone, like 2026-01-31T08:00:00Z"
)

// read takes the value and returns what is wrong with it.
func (f *Field[T]) read(v jsontext.Value) string {
	f.Set = true
	if _, truth := any(&f.Value).(*bool); isEmpty(v) && (!truth || v.Kind() == 'n') {
		f.Empty, f.Null = true, v.Kind() == 'n'
		return ""
	}
	switch to := any(&f.Value).(type) {
	case *bool:
		*to = v.Kind() == 't'
		if k := v.Kind(); k != 't' && k != 'f' {
			return "must be true, false or null"
		}
		return ""
	case *int:
		n, message := wholeNumber(v)
		*to = int(n)
		return message
	case *int64:
		n, message := wholeNumber(v)
		*to = n
		return message
	case *[]int64:
		return idsIn(v, to)
	case *time.Time:
		return timeIn(v, to)
	case *rule.Severity:
		return wordIn(v, rule.Severities, to)
	case *rule.ParserType:
		return wordIn(v, rule.ParserTypes, to)
	case *rule.Role:
		return wordIn(v, rule.Roles, to)
	case *rule.Channel:
		return wordIn(v, rule.Channels, to)
	case *[]rule.Status:
		return wordsIn(v, rule.Statuses, to)
	case *[]rule.Type:
		return wordsIn(v, rule.MemberTypes, to)
	case *[]rule.Severity:
		if v.Kind() == '"' { // one of them, as in a query
			*to = make([]rule.Severity, 1)
			return wordIn(v, rule.Severities, &(*to)[0])
		}
		return wordsIn(v, rule.Severities, to)
	case *rule.Type:
		return wordIn(v, rule.Types, to)
	case *rule.Event:
		return wordIn(v, rule.Events, to)
	case *Object:
		if v.Kind() != '{' {
			return "must be a JSON object"
		}
		*to = Object(v.Clone())
		return ""
	}
	return readText(v, any(&f.Value))
}

// readText reads the fields of subscriptions, and those that are texts.
func readText(v jsontext.Value, to any) string {
	switch to := to.(type) {
	case *OnlyTrue:
		if *to = v.Kind() == 't'; !*to {
			return "must be true or null"
		}
		return ""
	case *AnyTypes:
		return wordsIn(v, rule.Types, (*[]rule.Type)(to))
	case *[]rule.Event:
		return wordsIn(v, rule.Events, to)
	case *[]rule.ParserType:
		return wordsIn(v, rule.ParserTypes, to)
	case *ContactList:
		return contactListIn(v, to)
	case *string:
		return textIn(v, to, nil)
	case *Sender:
		return addressIn(v, (*string)(to), checkSender)
	case *Mailbox:
		return addressIn(v, (*string)(to), checkMailbox)
	case *Link:
		return addressIn(v, (*string)(to), checkLink)
	case *CronLine:
		return textIn(v, (*string)(to), checkCron)
	}
	panic(fmt.Sprintf("input: a field of %T", to))
}

func textOf(v jsontext.Value) (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	b, err := jsontext.AppendUnquote(nil, v)
	return string(b), err == nil
}

// textIn reads a text; check says what is wrong with it.
func textIn(v jsontext.Value, to *string, check func(string) string) string {
	s, ok := textOf(v)
	if !ok {
		return mustBeText
	}
	if message := accept.ValidateText(s, accept.MaxText); message != "" {
		return message
	}
	*to = strings.TrimSpace(s)
	if check == nil {
		return ""
	}
	return check(*to)
}

// addressIn is textIn for an address of any kind, which may have been copied with invisible characters at its ends.
func addressIn(v jsontext.Value, to *string, check func(string) string) string {
	if message := textIn(v, to, nil); message != "" {
		return message
	}
	*to = channel.TrimInvisible(*to)
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
	if err != nil || n > accept.MaxID || n < -accept.MaxID {
		return 0, mustBeWhole
	}
	return n, ""
}

func wordIn[T ~string](v jsontext.Value, words []T, to *T) string {
	if s, ok := textOf(v); ok && slices.Contains(words, T(s)) {
		*to = T(s)
		return ""
	}
	return MustBeOneOf(words)
}

// MustBeOneOf returns the fault of a text that is none of words.
func MustBeOneOf[T ~string](words []T) string { return "must be one of " + rule.Joined(words) }

// wordsIn reads a list of words; one that comes twice is taken once.
func wordsIn[T ~string](v jsontext.Value, words []T, to *[]T) string {
	ok := eachElement(v, func(e jsontext.Value) bool {
		var word T
		if wordIn(e, words, &word) != "" {
			return false
		}
		if !slices.Contains(*to, word) {
			*to = append(*to, word)
		}
		return true
	})
	if !ok {
		return "must be a list out of " + rule.Joined(words)
	}
	return ""
}

// MaxIDs is how many ids one call takes.
const MaxIDs = 250

func idsIn(v jsontext.Value, to *[]int64) string {
	message := fmt.Sprintf("must be a list of at most %d ids", MaxIDs)
	ok := eachElement(v, func(e jsontext.Value) bool {
		if len(*to) == MaxIDs {
			return false
		}
		id, fault := wholeNumber(e)
		if fault != "" {
			message = "must be a list of whole numbers"
		}
		*to = append(*to, id)
		return fault == ""
	})
	if !ok {
		return message
	}
	return ""
}

// eachElement passes the elements of a JSON array to read, which keeps none, until it returns false. ok is false where
// v is no array, or read returned false.
func eachElement(v jsontext.Value, read func(jsontext.Value) bool) (ok bool) {
	if v.Kind() != '[' {
		return false
	}
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	if _, err := dec.ReadToken(); err != nil {
		return false
	}
	for dec.PeekKind() != ']' {
		e, err := dec.ReadValue()
		if err != nil || !read(e) {
			return false
		}
	}
	return true
}

func timeIn(v jsontext.Value, to *time.Time) string {
	s, _ := textOf(v)
	t, ok := ParseTime(s)
	if !ok {
		return MustBeTime
	}
	*to = t
	return ""
}

// ParseTime reads a time as RFC 3339 writes it, in the precision and within the years that both databases keep.
func ParseTime(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, s)
	t = t.UTC().Truncate(time.Microsecond)
	return t, err == nil && t.Year() >= 1 && t.Year() <= 9999
}
