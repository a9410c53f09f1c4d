package tasks

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// MaxExceptionText is how many bytes of a message, a trace or arguments are kept.
const MaxExceptionText = 64 << 10

// maxExceptionName is how many bytes of a class, a function or a user are kept.
const maxExceptionName = 1000

// ExceptionInfo says what went wrong in a request. Only Class is required; what is too long is cut.
type ExceptionInfo struct {
	Class    string // of the exception: "KeyError"
	Message  string
	Trace    string
	User     string // who made the request; one that Tocsin does not know is left out
	Function string // method and route: "GET /api/products/{id}"
	// Fingerprint, where given, replaces message and arguments in deciding what the same exception is.
	Fingerprint string
}

// TaskExceptionInfo says what went wrong in a background task.
type TaskExceptionInfo struct {
	ExceptionInfo
	Arguments     map[string]any // of the task; those whose names look like a secret's are stored as "***"
	ProductID     int64          // 0: that of the observation
	ObservationID int64          // 0: none
}

// NewException tells of an exception in a request. The error is InvalidError where Class is missing.
func NewException(e ExceptionInfo) (*Task, error) {
	return newException(rule.TypeException, TaskExceptionInfo{ExceptionInfo: e})
}

// NewTaskException tells of an exception in a background task. The error is InvalidError where Class is missing, or where
// Arguments hold what JSON cannot say.
func NewTaskException(e TaskExceptionInfo) (*Task, error) {
	return newException(rule.TypeTask, e)
}

func newException(t rule.Type, e TaskExceptionInfo) (*Task, error) {
	// Maps are written with sorted keys, so their order makes no difference.
	arguments, err := json.Marshal(e.Arguments)
	if err != nil {
		return nil, InvalidError{{"arguments", "must be what JSON can say"}}
	}
	same := []string{string(t), e.Class, e.Message, e.Function, string(arguments)}
	if e.Fingerprint != "" {
		same = []string{string(t), e.Class, e.Function, "fingerprint", e.Fingerprint}
	}
	whole, err := json.Marshal(same)
	if err != nil {
		return nil, fmt.Errorf("fingerprint an exception: %w", err)
	}
	sum := sha256.Sum256(whole)
	x := &dbmodel.Exception{
		Type: t, Class: e.Class, Message: e.Message, Trace: e.Trace, User: e.User, Function: e.Function, ProductID: e.ProductID,
		ObservationID: e.ObservationID, Fingerprint: hex.EncodeToString(sum[:]),
	}
	if len(e.Arguments) > 0 {
		x.Arguments = arguments
	}
	if err := tidy(x); err != nil {
		return nil, err
	}
	return &Task{kind: kindException, exception: x}, nil
}

// tidy makes of an exception what can be stored and shown: texts are cleaned and cut, secrets masked, ids that cannot be left
// out. Doing so again changes nothing. The error is InvalidError.
func tidy(x *dbmodel.Exception) (err error) {
	if x.Class = dbmodel.Clean(x.Class, maxExceptionName); strings.TrimSpace(x.Class) == "" {
		return InvalidError{{"class", "must not be empty"}}
	}
	x.Message, x.Trace = dbmodel.Clean(x.Message, MaxExceptionText), cleanTail(x.Trace, MaxExceptionText)
	x.User, x.Function = dbmodel.Clean(x.User, maxExceptionName), dbmodel.Clean(x.Function, maxExceptionName)
	for _, id := range []*int64{&x.ProductID, &x.ObservationID} {
		if *id < 1 || *id > MaxID {
			*id = 0
		}
	}
	if x.Arguments != nil {
		x.Arguments, err = storedArguments(x.Arguments)
	}
	return err
}

// NewOwnException tells of a fault in a request to Tocsin itself. A failure to deliver it is not told again.
func NewOwnException(class, function, message, trace string) (*Task, error) {
	return newOwn(rule.TypeException, ExceptionInfo{Class: class, Function: function, Message: message, Trace: trace})
}

// NewOwnFailure tells that a background task of Tocsin itself has failed for good. The message is a category, so that a storm
// is one exception; particulars belong into the trace. A failure to deliver it is not told again.
func NewOwnFailure(class, function, message, trace string) (*Task, error) {
	return newOwn(rule.TypeTask, ExceptionInfo{Class: class, Function: function, Message: message, Trace: trace})
}

// Each makes an own failure be told each time; whoever tells it sees to it that it is not too often.
func (t *Task) Each() *Task {
	t.exception.Each = true
	return t
}

func newOwn(t rule.Type, e ExceptionInfo) (*Task, error) {
	task, err := newException(t, TaskExceptionInfo{ExceptionInfo: e})
	if err == nil {
		task.exception.Own = true
	}
	return task, err
}

// cleanTail is dbmodel.Clean that keeps the end, where a trace says what failed.
func cleanTail(text string, most int) string {
	text = dbmodel.Clean(text, len(text)*3+1)
	if len(text) <= most {
		return text
	}
	cut := len(text) - most + len("…")
	for !utf8.RuneStart(text[cut]) {
		cut++
	}
	return "…" + text[cut:]
}

// maxArgumentDepth is how deep arguments are kept: parsers of others stop reading far above our own, and one notification must
// not make a whole inbox unreadable to them.
const maxArgumentDepth = 64

// secretWords in the name of an argument make its value a secret.
var secretWords = []string{"password", "passwd", "secret", "token", "key", "authorization", "cookie"}

// storedArguments masks secrets at any depth, and cuts what is too long.
func storedArguments(arguments []byte) (json.RawMessage, error) {
	var values map[string]any
	decoder := json.NewDecoder(bytes.NewReader(arguments))
	decoder.UseNumber() // numbers stay as they were written
	if err := decoder.Decode(&values); err != nil {
		return nil, InvalidError{{"arguments", "must be an object"}}
	}
	masked := mask(values, maxArgumentDepth).(map[string]any) //nolint:forcetypeassert // mask keeps what is a map
	text, err := marshal(masked)
	if err != nil {
		return nil, err
	}
	if len(text) <= MaxExceptionText {
		return text, nil
	}
	// Each value gets its share; the names stay, as far as they fit.
	names := slices.Sorted(maps.Keys(masked))
	const room = MaxExceptionText - 1024
	cut := map[string]any{"…": fmt.Sprintf("cut: the arguments had %d bytes", len(text))}
	used := 0
	for i, name := range names {
		value, err := marshal(masked[name])
		if err != nil {
			return nil, err
		}
		share := (room-used)/(len(names)-i) - 2*len(name) - 8
		if share < 16 {
			continue
		}
		if len(value) > share {
			// In JSON a quote or a line break of the text takes two bytes or more: a third of the share is safe.
			short := dbmodel.Clean(string(value), max(share/6, 4))
			cut[name] = short
			used += 2*len(name) + 8 + 6*len(short)
			continue
		}
		cut[name] = masked[name]
		used += 2*len(name) + 8 + len(value)
	}
	return marshal(cut)
}

func marshal(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, InvalidError{{"arguments", "must be what JSON can say"}}
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// mask hides secrets; what lies deeper than the given number of objects and lists becomes "…".
func mask(v any, depth int) any {
	switch v := v.(type) {
	case map[string]any:
		if depth == 0 {
			return "…"
		}
		out := make(map[string]any, len(v))
		for name, value := range v {
			lower := strings.ToLower(name)
			if slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(lower, w) }) {
				value = "***"
			}
			out[dbmodel.Clean(name, maxExceptionName)] = mask(value, depth-1)
		}
		return out
	case []any:
		if depth == 0 {
			return "…"
		}
		out := make([]any, len(v))
		for i := range v {
			out[i] = mask(v[i], depth-1)
		}
		return out
	case string:
		return dbmodel.Clean(v, MaxExceptionText)
	case json.Number:
		return number(v.String())
	}
	return v
}

// longestNumber is how long a number with an exponent may be without it.
const longestNumber = 40

// number is a number as PostgreSQL gives it back, without an exponent, so that what is cut by its length does not grow again;
// the text of one that would get long, or that PostgreSQL may not take, as it is beyond what a float64 holds.
func number(text string) any {
	f, err := strconv.ParseFloat(text, 64)
	mantissa, _, exponent := strings.Cut(strings.ToLower(text), "e")
	if err != nil || len(text) > 400 || f == 0 && strings.ContainsAny(mantissa, "123456789") {
		return text
	}
	if !exponent {
		return json.Number(text)
	}
	plain := strconv.FormatFloat(f, 'f', -1, 64)
	if len(plain) > longestNumber || len(mantissa) > 17 { // beyond that a float64 has lost digits
		return text
	}
	return json.Number(plain)
}
