package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
)

// deliverDigest sends the digest that is tried again, else one of all single deliveries that wait.
func (d *drain) deliverDigest(ctx context.Context) (nextStep, error) {
	w, id := d.w, d.target.ID
	content, err := dbmodel.WaitingDigestOf(ctx, w.DB, id, d.target.Batch, message.MaxNamed, message.MaxWorst)
	switch {
	case err != nil:
		return stop, fmt.Errorf("read a digest for target %d: %w", id, err)
	case len(content.IDs) == 0 && d.target.Batch != 0: // nothing of it waits any more
		d.target.Batch = 0
		return goOn, dbmodel.EndBatch(ctx, w.DB, id, d.owner)
	case len(content.IDs) == 0:
		return goOn, nil
	case content.Subscribed:
		if changed, err := d.askAgain(ctx); err != nil {
			return stop, err
		} else if changed {
			return goOn, nil
		}
	}
	for _, named := range [][]dbmodel.Notification{content.Named, content.Worst} {
		for i := range named {
			d.addTrace(&named[i])
		}
	}
	set := dbmodel.DeliverySet{TargetID: id, IDs: content.IDs, Digest: true, Batch: d.target.Batch}
	return d.sendDigest(ctx, set, func(b message.Builder, to message.Recipient, brief bool) *channel.Message {
		say := b.Digest
		if brief {
			say = b.BriefDigest
		}
		return say(content, set.Number(), d.withHolder(to, content.ContactHolder))
	})
}

// sendDigest sends the message that say makes, a brief one where the receiver says that the whole one is too large, and
// records the result for set.
func (d *drain) sendDigest(
	ctx context.Context, set dbmodel.DeliverySet,
	say func(b message.Builder, to message.Recipient, brief bool) *channel.Message,
) (nextStep, error) {
	send := func(brief bool) (*channel.Error, bool, error) {
		return d.send(ctx, d.build(func(b message.Builder, to message.Recipient) *channel.Message {
			return say(b, to, brief)
		}))
	}
	result, lost, err := send(false)
	if err == nil && !lost && result != nil && result.TooLarge {
		result, lost, err = send(true)
	}
	if err != nil || lost {
		return stop, err
	}
	return d.recordResult(set, result)
}

// deliverNetDigest sends one message for the digest of a schedule or a pause that the delivery first belongs to: it
// stands for all deliveries of this digest that wait.
func (d *drain) deliverNetDigest(ctx context.Context, first dbmodel.PendingDelivery) (nextStep, error) {
	w := d.w
	ids, waiting, err := dbmodel.PendingOfDigest(ctx, w.DB, first.DigestID, d.target.ID)
	if err != nil {
		return stop, fmt.Errorf("find the deliveries of a digest for target %d: %w", d.target.ID, err)
	}
	if len(ids) == 0 {
		return goOn, nil
	}
	content, err := d.netDigest(ctx, first, waiting)
	if err != nil {
		return stop, err
	}
	set := dbmodel.DeliverySet{TargetID: d.target.ID, IDs: ids}
	return d.sendDigest(ctx, set, func(b message.Builder, to message.Recipient, brief bool) *channel.Message {
		say := b.NetDigest
		if brief {
			say = b.BriefNetDigest
		}
		return say(content, ids[len(ids)-1], d.withHolder(to, first.ContactHolder))
	})
}

// netDigest reads the digest of a delivery as the recipient may see it now. waiting has the ids of the notifications
// whose deliveries wait.
func (d *drain) netDigest(
	ctx context.Context, of dbmodel.PendingDelivery, waiting map[int64]bool,
) (message.LoadedNetDigest, error) {
	out := message.LoadedNetDigest{Number: of.DigestID}
	content, err := dbmodel.NetDigestByID(ctx, d.w.DB, of.DigestID)
	if errors.Is(err, dbmodel.ErrNotFound) {
		content, err = &dbmodel.StoredNetDigest{}, nil
	}
	if err != nil {
		return out, fmt.Errorf("load digest %d: %w", of.DigestID, err)
	}
	if of.UserID > 0 {
		var products []int64
		for _, p := range content.Products {
			products = append(products, p.Product)
		}
		seen, all, err := dbmodel.VisibleAmong(ctx, d.w.DB, of.UserID, products)
		if err != nil {
			return out, fmt.Errorf("find the products that a user sees of digest %d: %w", of.DigestID, err)
		}
		if !all {
			content.Restrict(seen, waiting)
		}
	}
	ids := make([]int64, 0, len(waiting))
	for id := range waiting {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	out.Content = content
	if out.Notifications, err = dbmodel.NotificationsByID(ctx, d.w.DB, ids); err != nil {
		return out, fmt.Errorf("load the notifications of digest %d: %w", of.DigestID, err)
	}
	for _, n := range out.Notifications {
		d.addTrace(n)
	}
	if of.Masked {
		for id, n := range out.Notifications {
			out.Notifications[id] = n.Masked()
		}
	}
	return out, nil
}
