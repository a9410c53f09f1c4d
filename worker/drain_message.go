package worker

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime/debug"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

// nextDigest makes the digest that must be sent next: the one that is tried again, else one of all that waits. It
// returns no message where nothing of it waits any more.
func (d *drain) nextDigest(ctx context.Context) (*channel.Message, dbmodel.DeliverySet, error) {
	w, id := d.w, d.target.ID
	set := dbmodel.DeliverySet{TargetID: id, Digest: true}
	var err error
	if set.IDs, err = dbmodel.PendingIDs(ctx, w.DB, id, d.target.Batch); err != nil {
		return nil, set, fmt.Errorf("find the deliveries of a digest for target %d: %w", id, err)
	}
	var m *channel.Message
	if len(set.IDs) > 0 {
		m, err = d.digest(ctx, set, message.Builder.Digest)
	}
	if err == nil && m == nil && d.target.Batch != 0 {
		d.target.Batch = 0
		err = dbmodel.EndBatch(ctx, w.DB, id, d.owner)
	}
	return m, set, err
}

// single makes the message of one delivery.
func (d *drain) single(n *dbmodel.Notification, waiting dbmodel.PendingDelivery) *channel.Message {
	if waiting.Masked {
		n = n.Masked()
	}
	return d.build(func(b message.Builder, to message.Recipient) *channel.Message {
		return b.Notification(n, waiting.ID, d.from(to, waiting))
	})
}

// digest makes the message of a digest; nil where nothing of it waits any more.
func (d *drain) digest(
	ctx context.Context, set dbmodel.DeliverySet,
	build func(message.Builder, *dbmodel.Digest, int64, message.Recipient) *channel.Message,
) (*channel.Message, error) {
	content, err := dbmodel.DigestOf(ctx, d.w.DB, set, digestItems)
	if err != nil {
		return nil, fmt.Errorf("load a digest of target %d: %w", set.TargetID, err)
	}
	if len(content.Groups) == 0 {
		return nil, nil
	}
	source, err := dbmodel.SoleSource(ctx, d.w.DB, set)
	if err != nil {
		return nil, fmt.Errorf("find what a digest of target %d comes from: %w", set.TargetID, err)
	}
	return d.build(func(b message.Builder, to message.Recipient) *channel.Message {
		return build(b, content, set.IDs[len(set.IDs)-1], d.from(to, source))
	}), nil
}

// from is to with what its message comes from and, where that is a subscription of its user alone, the link that
// disables it.
func (d *drain) from(to message.Recipient, source dbmodel.PendingDelivery) message.Recipient {
	to.Source, to.SourceName = source.Source, source.SourceName
	if source.UserID > 0 && source.SourceName != "" {
		to.Unsubscribe = fmt.Sprintf("%s/unsubscribe/%d/%s", d.w.BaseURL, source.Source.ID,
			d.w.Vault.UnsubscribeKey(source.Source.ID))
	}
	return to
}

// build makes a message. One whose making panics still says that something happened and where to read it.
func (d *drain) build(say func(message.Builder, message.Recipient) *channel.Message) (m *channel.Message) {
	b := message.Builder{BaseURL: d.w.BaseURL, Settings: d.settings}
	to := message.Recipient{Channel: d.target.Channel}
	if to.Channel == rule.Email {
		to.Address, to.FirstName = d.address, d.firstName
	}
	defer func() {
		if p := recover(); p != nil {
			d.w.Log.Error().Int64("target", d.target.ID).Bytes("stack", debug.Stack()).
				Msgf("make a message: panic: %v", kindOf(p))
			m = &channel.Message{
				Headline: "A notification could not be shown here: read it in Tocsin", Tone: channel.Attention, ID: rand.Text(),
				From: d.settings.EmailFrom, Action: channel.Link{Label: "Open the inbox", URL: d.w.BaseURL + "/"},
			}
		}
	}()
	return say(b, to)
}
