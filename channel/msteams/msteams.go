// Package msteams sends messages to Microsoft Teams through the webhooks of Power Automate ("Workflows"), as Adaptive
// Cards. It uses neither bots nor the Graph API nor MessageCards, and neither paces nor retries: Teams accepts four
// messages a second for each webhook.
package msteams

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/seed91453169/tocsin/channel"
)

// Sender posts to Workflows webhooks; it implements channel.Sender.
type Sender struct{ client *http.Client }

// New returns a Sender over client, which should be that of channel.NewHTTPClient.
func New(client *http.Client) *Sender { return &Sender{client: client} }

// Send implements channel.Sender. A 2xx means that the message is delivered, whatever the body says: flows answer with
// texts of their authors. The retired connectors are the exception: see hiddenError.
func (s *Sender) Send(ctx context.Context, to channel.Target, m *channel.Message) error {
	body, err := render(m)
	if err != nil {
		return err
	}
	answer, err := channel.Post(ctx, s.client, to.Address, body, nil)
	if err != nil {
		return err
	}
	if !answer.OK() {
		return answer.Err()
	}
	if isConnector(to.Address) {
		if e := hiddenError(answer); e != nil {
			return e
		}
	}
	return nil
}

// isConnector reports whether address is a webhook of one of the retired Office 365 connectors.
func isConnector(address channel.Secret) bool {
	u, err := url.Parse(address.Reveal())
	if err != nil {
		return false
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	return host == "webhook.office.com" || strings.HasSuffix(host, ".webhook.office.com")
}

// hidden is the text in which the retired connectors report an error with status 200
// (https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using, "Rate
// limiting"); it names the status that was meant.
var hidden = regexp.MustCompile(`^"?Webhook message delivery failed with error: .*returned HTTP error ([345]\d\d)\b`)

// hiddenError returns the error that the body of a 2xx reports, or nil where it reports none.
func hiddenError(a *channel.Answer) *channel.Error {
	found := hidden.FindStringSubmatch(a.Body)
	if found == nil {
		return nil
	}
	status, _ := strconv.Atoi(found[1]) // three digits
	e := (&channel.Answer{Status: status, RetryAfter: a.RetryAfter}).Err()
	e.Reason += " (in an answer with status " + strconv.Itoa(a.Status) + ")"
	return e
}
