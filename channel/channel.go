// Package channel holds what all channels have in common: the message, the target, the error and the guarded HTTP
// client. Each vendor has a package of its own below this one. Package channel does not decide what is sent, where to
// or when, and it does not retry: its errors say whether a retry makes sense.
package channel

import (
	"context"
	"encoding/json"
	"time"

	"github.com/seed91453169/tocsin/rule"
)

// Secret is a text that never prints: a webhook URL, a password, a key. Use Reveal where the text itself is needed.
type Secret string

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer.
func (Secret) String() string { return "[redacted]" }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return "[redacted]" }

// MarshalText keeps the secret out of JSON and logs.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// Target is the address that a message goes to: an email address or a webhook URL.
type Target struct {
	Channel rule.Channel
	Address Secret
}

// Tone says how loud a message is; Teams shows it as a colour.
type Tone string

// Tones.
const (
	Attention Tone = "attention" // Critical, a failed gate, an exception
	Warning   Tone = "warning"   // High
	Accent    Tone = "accent"    // Medium
	Default   Tone = "default"
	Good      Tone = "good" // a passed gate
)

// Fact is one line of the facts of a message. Its value is not empty: package message leaves empty facts out.
type Fact struct{ Name, Value string }

// Item is one row of a digest.
type Item struct {
	Label   string // "Critical", "Gate failed", "Exception"
	Event   string // "New", "High → Critical", …
	Name    string // title, product or class
	Product string
	URL     string
}

// Link is a labelled address to click on.
type Link struct{ Label, URL string }

// Message is the content of one delivery, in no channel's format. All texts are untrusted and unescaped; senders cut
// and escape them as their vendor asks.
type Message struct {
	Headline string // the first line, which must be enough on its own
	Tone     Tone
	Facts    []Fact
	Text     string // preformatted: the message of an exception, the end of its trace
	Items    []Item // of a digest: the worst ones
	More     string // of a digest: what Items leaves out, as a sentence; else empty
	Action   Link

	// What only mail needs.
	ID        string // the same for every attempt of one delivery; the local part of Message-ID
	Thread    string // messages about the same thing share it, e.g. "observation-12"; empty: no thread
	From      string // the sender's address
	Greeting  string // first name of the recipient; empty where it is not known
	Reason    string // why the recipient gets this mail: "because …"
	ReasonURL string // where that is changed
	// Unsubscribe is a link that takes a POST without a login and ends what the recipient gets; empty: there is none.
	Unsubscribe string

	// What only signed webhooks need, beside ID. They get data instead of texts.
	Notifications []json.RawMessage // as the HTTP interface answers them
	At            time.Time         // when the latest of them happened
	Secrets       []Secret          // each of them signs
}

// Sender sends one message to one target. Implementations are safe for concurrent use. Send returns nil when the
// receiver accepted the message, else an *Error. It respects the deadline of ctx.
type Sender interface {
	Send(ctx context.Context, to Target, m *Message) error
}

// SendTime is how long a send may take from the moment when the request leaves, unless its sender is Patient.
const SendTime = 15 * time.Second

// Patient is a Sender whose receivers may take longer than SendTime.
type Patient interface {
	SendTime() time.Duration
}

// Kind says what a failure to send means for the next attempt.
type Kind int

// Kinds of failures.
const (
	Temporary     Kind = iota // network errors, 408, 5xx: try again later
	RateLimited               // 429: try again after RetryAfter
	Configuration             // TLS, login or HELO refused: try again later, after a mend by the operator
	Permanent                 // the receiver will never accept this message
	Gone                      // the receiver will never accept any message
)

// String returns the kind in words.
func (k Kind) String() string {
	switch k {
	case Temporary:
		return "temporary"
	case RateLimited:
		return "rate limited"
	case Configuration:
		return "configuration"
	case Permanent:
		return "permanent"
	case Gone:
		return "gone"
	}
	return "unknown"
}

// Error says why a message was not accepted. Its text is stored and shown, so it is a fixed category and a status,
// never a URL, a body or a key.
type Error struct {
	Kind       Kind
	Reason     string        // for people: "the webhook answered 404 (no_service): …"
	Status     string        // the answer alone: "404 (no_service)", "550 5.1.1"; empty where none came
	RetryAfter time.Duration // what the receiver asked for; 0: nothing
	TooLarge   bool          // the receiver refused the message for its size or form: it may accept a shorter one
	Err        error         // the cause, with nothing secret in it; may be nil
}

// Error implements error.
func (e *Error) Error() string { return e.Reason }

// Brief returns the reason in few words: the status of the answer where that is enough, else all of Reason.
func (e *Error) Brief() string {
	if e.Status == "" || e.Kind == Configuration {
		return e.Reason
	}
	return e.Status
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
