// Package channel holds what all channels have in common: the message, the target, the error and the guarded HTTP
// client. Each vendor has a package of its own below this one. Package channel does not decide what is sent, where to
// or when, and it does not retry: its errors say whether a retry makes sense.
package channel

import (
	"cmp"
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

// Fact is one line of the facts of a message. Package message leaves out those with an empty value.
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

// Button returns l with a label of at most limit characters, "Open" where it has none; ok is false where its URL is no
// link that every channel accepts: a message then goes without the button.
func (l Link) Button(limit int) (button Link, ok bool) {
	link, ok := WebLink(l.URL)
	return Link{Label: cmp.Or(Line(l.Label, limit), "Open"), URL: link}, ok
}

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

	// ID is the same for every attempt of one delivery: the local part of Message-ID, or Webhook-Id where signed.
	ID string

	// Fields that only mail needs.
	Thread    string // messages about the same thing share it, e.g. "observation-12"; empty: no thread
	From      string // the sender's address
	Greeting  string // first name of the recipient; empty where it is not known
	Reason    string // why the recipient gets this mail: "because …"
	ReasonURL string // the page on which the recipient can change that
	// Unsubscribe is a link that takes a POST without a login and unsubscribes the recipient; empty: there is none.
	Unsubscribe string

	// Fields that only signed webhooks need. Their receivers get data instead of texts.
	Notifications []json.RawMessage // as the HTTP interface answers them
	At            time.Time         // when the latest of them happened
	Secrets       []Secret          // each of them signs
}

// Sender sends one message to one target. Implementations are safe for concurrent use. Send returns nil when the
// receiver accepted the message, else an *Error. It respects the deadline of ctx.
type Sender interface {
	Send(ctx context.Context, to Target, m *Message) error
}

// SendTime is how long a send may take, including the time to compose the message and to wait for a connection, unless
// its sender is Patient.
const SendTime = 15 * time.Second

// Patient is implemented by a Sender whose receivers may take longer than the constant SendTime.
type Patient interface {
	SendTime() time.Duration
}
