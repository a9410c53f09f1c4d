package accept

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// MaxExceptionText is how many bytes of a message, a trace or arguments are kept.
const MaxExceptionText = 64 << 10

// maxExceptionName is how many bytes of a class, a function or a user are kept.
const maxExceptionName = 1000

// ExceptionInfo describes an exception in a request, as tasks.ExceptionInfo does. Only Class is required. Message and
// Trace are cut to MaxExceptionText, Class, User and Function to maxExceptionName; Trace keeps its end, the others
// keep their beginning.
type ExceptionInfo struct {
	Class    string // of the exception: "KeyError"
	Message  string
	Trace    string
	User     string // the user who made the request; a user that Tocsin does not know is left out
	Function string // method and route: "GET /api/products/{id}"
	// Fingerprint, where given, replaces message and arguments in deciding whether two exceptions are the same.
	Fingerprint string
}

// TaskExceptionInfo describes an exception in a background task, as tasks.TaskExceptionInfo does.
type TaskExceptionInfo struct {
	ExceptionInfo
	Arguments     map[string]any // of the task; a value whose name looks like a secret's is stored as "***"
	ProductID     int64          // 0: the product of the observation
	ObservationID int64          // 0: none
}

// NewException reports an exception in a request. The error is InvalidError where Class is missing.
func NewException(e ExceptionInfo) (*Event, error) {
	return newException(rule.TypeException, TaskExceptionInfo{ExceptionInfo: e})
}

// NewTaskException reports an exception in a background task. The error is InvalidError where Class is missing, or
// where JSON cannot represent Arguments.
func NewTaskException(e TaskExceptionInfo) (*Event, error) {
	return newException(rule.TypeTask, e)
}

func newException(t rule.Type, e TaskExceptionInfo) (*Event, error) {
	// Marshal sorts the keys of maps, so equal arguments always give the same text.
	arguments, err := json.Marshal(e.Arguments)
	if err != nil {
		return nil, InvalidError{{"arguments", "must be representable in JSON"}}
	}
	if len(e.Arguments) == 0 {
		arguments = nil // none, however that was written
	}
	identity := []string{string(t), e.Class, e.Message, e.Function, string(arguments)}
	if e.Fingerprint != "" {
		// One element less than without a fingerprint, so that no message can imitate one.
		identity = []string{string(t), e.Class, e.Function, e.Fingerprint}
	}
	whole, err := json.Marshal(identity)
	if err != nil {
		return nil, fmt.Errorf("fingerprint an exception: %w", err)
	}
	sum := sha256.Sum256(whole)
	x := &dbmodel.Exception{
		Type: t, Class: e.Class, Message: e.Message, Trace: e.Trace, User: e.User, Function: e.Function,
		ProductID: e.ProductID, ObservationID: e.ObservationID, Fingerprint: hex.EncodeToString(sum[:]),
		Arguments: arguments,
	}
	if err := tidy(x); err != nil {
		return nil, err
	}
	return &Event{kind: dbmodel.KindException, exception: x}, nil
}

// tidy makes an exception fit to be stored and shown: it cleans and cuts texts, masks secrets, and leaves out ids
// that cannot exist. A second call changes nothing. The error is InvalidError.
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

// NewOwnException reports a fault in a request to Tocsin itself. A failure to deliver it is not reported in turn.
func NewOwnException(e ExceptionInfo) (*Event, error) { return newOwn(rule.TypeException, e) }

// NewOwnFailure reports that a background task of Tocsin itself has failed for good. The message is a category, so
// that many failures at once are one exception; details belong in the trace. A failure to deliver it is not reported in
// turn.
func NewOwnFailure(e ExceptionInfo) (*Event, error) { return newOwn(rule.TypeTask, e) }

// NeverSuppressed makes Tocsin notify an own failure also within the window of an equal one; the caller limits how
// often.
func (e *Event) NeverSuppressed() *Event {
	e.exception.NeverSuppressed = true
	return e
}

func newOwn(t rule.Type, e ExceptionInfo) (*Event, error) {
	event, err := newException(t, TaskExceptionInfo{ExceptionInfo: e})
	if err != nil {
		return nil, err
	}
	x := event.exception
	x.Own = true
	// The fingerprint differs from that of an equal exception that a web tier reports, which must not suppress this one.
	sum := sha256.Sum256([]byte("own " + x.Fingerprint))
	x.Fingerprint = hex.EncodeToString(sum[:])
	return event, nil
}

// cleanTail does what dbmodel.Clean does, but keeps the end of text, where a trace names what failed.
func cleanTail(text string, most int) string {
	text = dbmodel.Clean(text, math.MaxInt)
	if len(text) <= most {
		return text
	}
	cut := len(text) - most + len("…")
	for !utf8.RuneStart(text[cut]) {
		cut++
	}
	return "…" + text[cut:]
}

// exceptionFrom checks an exception that came through Redis as its constructor does. The exception is never one about
// Tocsin itself: those do not come through Redis.
func exceptionFrom(p payload) (*Event, error) {
	x := p.Exception
	if x == nil || x.Type != rule.TypeException && x.Type != rule.TypeTask {
		return nil, InvalidError{{"exception", "is neither one in a request nor one in a background task"}}
	}
	if sum, err := hex.DecodeString(x.Fingerprint); err != nil || len(sum) != sha256.Size {
		return nil, InvalidError{{"fingerprint", "is not one of Tocsin's"}}
	}
	if err := tidy(x); err != nil {
		return nil, err
	}
	x.Own, x.NeverSuppressed = false, false
	return &Event{kind: dbmodel.KindException, exception: x}, nil
}

func acceptException(ctx context.Context, db bun.IDB, e *Event, how circumstances) (Accepted, error) {
	return insert(ctx, db, dbmodel.NewEvent{
		Kind: dbmodel.KindException, Payload: dbmodel.EventPayload{Exception: e.exception, TraceParent: e.traceParent},
		Queued: how.queued,
	})
}
