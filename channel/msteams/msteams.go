// Package msteams sends messages to Microsoft Teams through the webhooks of Power Automate ("Workflows"), as Adaptive
// Cards. It knows nothing of bots or of the Graph API, makes no MessageCards, and neither paces nor retries: Teams takes
// four messages a second for each webhook.
package msteams

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/seed91453169/tocsin/channel"
)

// Sender posts to Workflows webhooks; it implements channel.Sender.
type Sender struct{ client *http.Client }

// New returns a Sender that uses client, which ought to be that of channel.NewHTTPClient.
func New(client *http.Client) *Sender { return &Sender{client: client} }

// Send implements channel.Sender. Teams took the message where it answers 2xx and the body does not say otherwise: see
// refused.
func (s *Sender) Send(ctx context.Context, to channel.Target, m *channel.Message) error {
	body, err := render(m)
	if err != nil {
		return &channel.Error{Kind: channel.Permanent, Reason: "the message could not be written as JSON"}
	}
	answer, err := channel.Post(ctx, s.client, to.Address, body)
	if err != nil {
		return err
	}
	if !answer.OK() {
		return answer.Err()
	}
	if !refused(answer.Body) {
		return nil
	}
	return hidden(answer)
}

// refused reports whether the body of a 2xx is the text of an error. Workflows answers 202 and nothing, the older
// webhooks 200 and "1". What a flow of one's own answers by its Response action is taken as success where it is JSON
// without an "error", or says "ok" or "accepted". Any other text is an error: the older webhooks report all of theirs
// with status 200 (https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
// under "Rate limiting"), and so do proxies with a page of their own. The host does not count, for it may change.
func refused(body string) bool {
	var v any
	if json.Unmarshal([]byte(body), &v) == nil {
		switch v := v.(type) {
		case string:
			body = v
		case map[string]any:
			_, failed := v["error"]
			return failed
		default:
			return false
		}
	}
	switch strings.ToLower(strings.TrimSpace(body)) {
	case "", "1", "ok", "accepted":
		return false
	}
	return true
}

// inText finds the status that the older webhooks hide in "… endpoint returned HTTP error 429 with ContextId …".
var inText = regexp.MustCompile(`(?i)HTTP error (\d{3})\b`)

// hidden makes an error of a 2xx whose body says that it failed. Without a status in it, it is temporary, so that nothing
// is lost while the webhook is mended.
func hidden(a *channel.Answer) *channel.Error {
	if found := inText.FindStringSubmatch(a.Body); found != nil {
		if status, err := strconv.Atoi(found[1]); err == nil && status >= 400 {
			e := (&channel.Answer{Status: status, RetryAfter: a.RetryAfter}).Err()
			e.Reason += " (told with status " + strconv.Itoa(a.Status) + ")"
			return e
		}
	}
	return &channel.Error{
		Kind: channel.Temporary, RetryAfter: a.RetryAfter,
		Reason: "the webhook answered " + strconv.Itoa(a.Status) + ", but with the text of an error",
	}
}
