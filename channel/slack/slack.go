// Package slack sends messages to Slack's incoming webhooks. It uses no other API of Slack, and neither paces nor
// retries: Slack accepts one message a second for each webhook.
package slack

import (
	"context"
	"net/http"

	"github.com/seed91453169/tocsin/channel"
)

// Sender posts to incoming webhooks; it implements channel.Sender.
type Sender struct{ client *http.Client }

// New returns a Sender over client, which should be that of channel.NewHTTPClient.
func New(client *http.Client) *Sender { return &Sender{client: client} }

// words are Slack's words for a refusal, which an error may show: the permanent ones
// (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks), and three that are temporary.
var words = []string{
	"action_prohibited", "channel_is_archived", "channel_not_found", "invalid_blocks", "invalid_blocks_format",
	"invalid_payload", "invalid_token", "missing_text_or_fallback_or_attachments", "no_active_hooks", "no_service",
	"no_service_id", "no_team", "no_text", "posting_to_general_channel_denied", "team_disabled", "too_many_attachments",
	"user_not_found",
	"rollup_error", "ratelimited", "rate_limited",
}

// Send implements channel.Sender. A 2xx means that the message is delivered, whatever the body says: Slack answers
// "ok", compatible receivers answer other texts or none.
func (s *Sender) Send(ctx context.Context, to channel.Target, m *channel.Message) error {
	body, err := channel.Payload(render(m))
	if err != nil {
		return err
	}
	answer, err := channel.Post(ctx, s.client, to.Address, body, nil)
	if err != nil {
		return err
	}
	if answer.OK() {
		return nil
	}
	return answer.Err(words...)
}
