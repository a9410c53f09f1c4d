// Package slack sends messages to Slack's incoming webhooks. It knows nothing of channels, users or Slack's other APIs,
// and neither paces nor retries: Slack takes one message a second for each webhook.
package slack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/seed91453169/tocsin/channel"
)

// Sender posts to incoming webhooks; it implements channel.Sender.
type Sender struct{ client *http.Client }

// New returns a Sender that uses client, which ought to be that of channel.NewHTTPClient.
func New(client *http.Client) *Sender { return &Sender{client: client} }

// words are what Slack answers to a message that it will not take
// (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks).
var words = []string{
	"action_prohibited", "channel_is_archived", "channel_not_found", "invalid_blocks", "invalid_blocks_format",
	"invalid_payload", "invalid_token", "missing_text_or_fallback_or_attachments", "no_active_hooks", "no_service",
	"no_service_id", "no_team", "no_text", "posting_to_general_channel_denied", "team_disabled", "too_many_attachments",
	"user_not_found",
}

// passing are words for what passes by itself.
var passing = []string{"rollup_error", "ratelimited", "rate_limited"}

// Send implements channel.Sender. Slack took the message where it answers 2xx with the body "ok". A 2xx with another body
// comes from something that is not Slack, or not itself today (a proxy's login page, say): that is temporary, so that
// nothing is lost while it is mended, unless the body is one of Slack's words for a refusal.
func (s *Sender) Send(ctx context.Context, to channel.Target, m *channel.Message) error {
	body, err := encode(render(m))
	if err != nil {
		return &channel.Error{Kind: channel.Permanent, Reason: "the message could not be written as JSON"}
	}
	answer, err := channel.Post(ctx, s.client, to.Address, body)
	if err != nil {
		return err
	}
	switch {
	case answer.OK() && answer.Body == "ok":
		return nil
	case answer.OK() && slices.Contains(words, answer.Body):
		return &channel.Error{Kind: channel.Permanent, Reason: "the webhook refused the message: " + answer.Body}
	case answer.OK():
		return &channel.Error{Kind: channel.Temporary, RetryAfter: answer.RetryAfter, Reason: "the webhook did not answer like Slack: no \"ok\""}
	}
	return answer.Err(slices.Concat(words, passing)...)
}

func encode(p payload) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		return nil, errors.New("encode")
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
