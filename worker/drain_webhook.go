package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/webhook"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

// deliverData sends the next batch to a signed webhook, if something waits: up to webhook.MaxNotifications, each in
// full. A batch that is tried again has the same deliveries and the same id.
func (d *drain) deliverData(ctx context.Context) (nextStep, error) {
	if _, err := d.askAgain(ctx); err != nil { // the batch is read after that, with its changes
		return stop, err
	}
	waiting, err := d.nextBatch(ctx)
	if err != nil || len(waiting) == 0 {
		return nothingWaits, err
	}
	for {
		m, set, err := d.batchMessage(ctx, waiting)
		if err != nil {
			return stop, err
		}
		if m == nil { // all of its notifications were deleted a moment ago
			return goOn, nil
		}
		result, lost, err := d.send(ctx, m)
		if err != nil || lost {
			return stop, err
		}
		if result != nil && result.TooLarge && len(waiting) > 1 {
			d.batchSize = len(waiting) / 2
			waiting = waiting[:d.batchSize]
			if d.target.Batch != 0 { // each half is a batch of its own
				d.target.Batch = 0
				if err := dbmodel.EndBatch(ctx, d.w.DB, d.target.ID, d.owner); err != nil {
					return stop, err
				}
			}
			continue
		}
		return d.recordResult(set, result)
	}
}

// nextBatch lists the deliveries of the next batch: those of the batch that is tried again, else the first that wait.
func (d *drain) nextBatch(ctx context.Context) ([]dbmodel.PendingDelivery, error) {
	waiting, err := dbmodel.PendingDeliveries(ctx, d.w.DB, d.target.ID, webhook.MaxNotifications)
	if err != nil || d.target.Batch == 0 {
		if d.batchSize > 0 && len(waiting) > d.batchSize {
			waiting = waiting[:d.batchSize]
		}
		return waiting, err
	}
	again := slices.DeleteFunc(slices.Clone(waiting), func(one dbmodel.PendingDelivery) bool {
		return one.Batch != d.target.Batch
	})
	if len(again) == 0 { // nothing of it waits any more
		d.target.Batch = 0
		return waiting, dbmodel.EndBatch(ctx, d.w.DB, d.target.ID, d.owner)
	}
	return again, nil
}

// batchMessage makes the message of deliveries; nil where none of their notifications is left.
func (d *drain) batchMessage(
	ctx context.Context, waiting []dbmodel.PendingDelivery,
) (*channel.Message, dbmodel.DeliverySet, error) {
	set := dbmodel.DeliverySet{TargetID: d.target.ID, Digest: true, Batch: d.target.Batch}
	ids := make([]int64, len(waiting))
	for i := range waiting {
		ids[i] = waiting[i].NotificationID
	}
	notifications, err := dbmodel.NotificationsByID(ctx, d.w.DB, ids)
	if err != nil {
		return nil, set, fmt.Errorf("load notifications for target %d: %w", d.target.ID, err)
	}
	secrets, err := dbmodel.SigningSecrets(ctx, d.w.DB, d.w.Vault, d.target.ID)
	switch {
	case errors.Is(err, dbmodel.ErrSecretLost): // the sender refuses a message without a secret, and says what to do
		d.w.Log.Error().Err(err).Int64("target", d.target.ID).Msg("the secret of a webhook cannot be read")
	case err != nil:
		return nil, set, fmt.Errorf("read the secrets of target %d: %w", d.target.ID, err)
	}
	m := &channel.Message{}
	d.forgetTraces()
	for _, one := range waiting {
		n, found := notifications[one.NotificationID]
		if !found {
			continue
		}
		if one.Masked {
			n = n.Masked()
		}
		d.addTrace(n)
		set.IDs = append(set.IDs, one.ID)
		m.Notifications = append(m.Notifications, message.Data(n))
		if n.CreatedAt.After(m.At) {
			m.At = n.CreatedAt
		}
	}
	if len(set.IDs) == 0 {
		return nil, set, nil
	}
	m.ID = "batch-" + strconv.FormatInt(set.Number(), 10)
	for _, s := range secrets {
		m.Secrets = append(m.Secrets, channel.Secret(s))
	}
	return m, set, nil
}

// gone disables the contacts of a target whose receiver says that it is gone, and fails all deliveries that wait for
// the target.
func (d *drain) gone(set dbmodel.DeliverySet, result *channel.Error) error {
	w := d.w
	if _, err := d.recordTried(set, result); err != nil {
		return err
	}
	err := w.record("a receiver is gone", func(ctx context.Context) error {
		return w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			if err := dbmodel.DisableContacts(ctx, tx, d.target.ID); err != nil {
				return err
			}
			all := dbmodel.DeliverySet{TargetID: d.target.ID, All: true}
			return d.notifyFailure(ctx, tx, all, "ReceiverGone", result.Brief(),
				"its receiver is gone, so the contact is disabled until a test succeeds or its address changes: "+result.Reason)
		})
	})
	if err != nil {
		return err
	}
	return d.giveUp(result, string(rule.ReceiverGone.Sentence()))
}
