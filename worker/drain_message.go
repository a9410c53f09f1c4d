package worker

import (
	"crypto/rand"
	"fmt"
	"runtime/debug"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

// single makes the message of one delivery.
func (d *drain) single(n *dbmodel.Notification, delivery dbmodel.PendingDelivery) *channel.Message {
	if delivery.Masked {
		n = n.Masked()
	}
	return d.build(func(b message.Builder, to message.Recipient) *channel.Message {
		return b.Single(n, delivery.ID, d.withHolder(to, delivery.ContactHolder))
	})
}

// withHolder adds to a recipient the holder of its contact and, where that is a personal subscription, the link that
// disables it.
func (d *drain) withHolder(to message.Recipient, of dbmodel.ContactHolder) message.Recipient {
	to.Holder, to.HolderName = of.Holder, of.HolderName
	if of.UserID > 0 && of.HolderName != "" {
		to.Unsubscribe = fmt.Sprintf("%s/unsubscribe/%d/%s", d.w.BaseURL, of.Holder.ID,
			d.w.Vault.UnsubscribeKey(of.Holder.ID))
	}
	return to
}

// build returns the message that say makes. Where say panics, the message says that there is a notification, and where
// to read it.
func (d *drain) build(say func(message.Builder, message.Recipient) *channel.Message) (m *channel.Message) {
	b := message.Builder{BaseURL: d.w.BaseURL, Settings: d.settings}
	to := message.Recipient{Channel: d.target.Channel}
	if to.Channel == rule.Email {
		to.Address, to.FirstName = d.address, d.firstName
	}
	defer func() {
		if p := recover(); p != nil {
			d.w.Log.Error().Int64("target", d.target.ID).Bytes("stack", debug.Stack()).
				Msgf("make a message: panic: %v", harmless(p))
			m = &channel.Message{
				Headline: "A notification could not be shown here: read it in Tocsin", Tone: channel.Attention, ID: rand.Text(),
				From: d.settings.EmailFrom, Action: channel.Link{Label: "Open the inbox", URL: d.w.BaseURL + "/"},
			}
		}
	}()
	return say(b, to)
}
