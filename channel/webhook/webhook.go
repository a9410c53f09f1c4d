// Package webhook sends notifications as JSON to any receiver, signed as Standard Webhooks 1.0.0 describes
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md). It neither
// gathers notifications nor retries, and keeps no secrets: a message holds its notifications and the secrets that sign
// it.
package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/channel"
)

// MaxNotifications is how many notifications one message holds at most.
const MaxNotifications = 100

// Sender posts to webhooks; it implements channel.Sender.
type Sender struct{ client *http.Client }

// New returns a Sender over client, which should be that of channel.NewHTTPClient.
func New(client *http.Client) *Sender { return &Sender{client: client} }

type payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      data      `json:"data"`
}

type data struct {
	Notifications []json.RawMessage `json:"notifications"`
}

// Send implements channel.Sender. It sends the notifications, the time and the id of m and nothing else of it, signed
// with each of its secrets at the time of this attempt. An answer 410 ends the webhook: the error has the kind
// channel.Gone.
func (s *Sender) Send(ctx context.Context, to channel.Target, m *channel.Message) error {
	if n := len(m.Notifications); n < 1 || n > MaxNotifications {
		return &channel.Error{
			Kind:   channel.Permanent,
			Reason: fmt.Sprintf("the message has %d notifications: it needs 1 to %d", n, MaxNotifications),
		}
	}
	body, err := channel.Payload(payload{
		Type: "notifications", Timestamp: m.At.UTC(), Data: data{m.Notifications},
	})
	if err != nil {
		return err
	}
	now := time.Now()
	signature, err := sign(m.Secrets, m.ID, now, body)
	switch {
	case err != nil, len(m.Secrets) == 0:
		return &channel.Error{Kind: channel.Permanent, Reason: "the webhook's secret cannot be read: rotate it"}
	case m.ID == "" || strings.ContainsFunc(m.ID, unfit):
		return &channel.Error{Kind: channel.Permanent, Reason: "the message has no id that can be signed"}
	}
	answer, err := channel.Post(ctx, s.client, to.Address, body, http.Header{
		"Webhook-Id":        {m.ID},
		"Webhook-Timestamp": {strconv.FormatInt(now.Unix(), 10)},
		"Webhook-Signature": {signature},
	})
	if err != nil {
		return err
	}
	if answer.OK() {
		return nil
	}
	e := answer.Err()
	if answer.Status == http.StatusGone {
		e.Kind = channel.Gone
	}
	return e
}

// unfit reports whether r in an id would make the signed text ambiguous, or break a header.
func unfit(r rune) bool { return r <= ' ' || r == '.' || r >= 0x7f }
