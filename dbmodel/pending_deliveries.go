package dbmodel

import (
	"context"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// PendingDelivery is a delivery that waits, with its notification.
type PendingDelivery struct {
	ID             int64
	NotificationID int64
	ContactHolder
	Masked   bool  // its message says only what members may read
	DigestID int64 // the StoredNetDigest that it belongs to; 0: none
	Batch    int64 // the number of the digest or batch in which it was tried; 0: it was not tried, or tried alone
}

// ContactHolder is the holder of the contact that a delivery goes to.
type ContactHolder struct {
	Holder     rule.Holder `bun:"embed:source_"`
	HolderName string      // of a subscription or a product group
	UserID     int64       // the user whose personal subscription Holder is; 0: Holder is no such subscription
}

// The deliveries that wait for one target are read in the order of their index. "BETWEEN id AND id" stands for "= id".
// With "= id", PostgreSQL would ignore target_id in ORDER BY, as a constant, and read along the primary key, through
// all that was delivered.
const pendingDeliveries = `
	SELECT id, notification_id, source_kind, source_id, user_id, masked, digest_id, batch
	FROM deliveries INDEXED BY deliveries_pending
	WHERE target_id BETWEEN @target AND @target AND state = 'pending' AND @live
	ORDER BY target_id, id LIMIT @limit`

const holderNames = `
	SELECT 'subscription' AS kind, id, name FROM subscriptions WHERE id = ANY (@subscriptions)
	UNION ALL
	SELECT 'product_group' AS kind, id, name FROM product_groups WHERE id = ANY (@groups)`

// PendingDeliveries lists the first limit deliveries that wait for a target, in the order in which they must be
// delivered.
func PendingDeliveries(ctx context.Context, db bun.IDB, targetID int64, limit int) ([]PendingDelivery, error) {
	list, err := queryAll[PendingDelivery](ctx, db, pendingDeliveries,
		args{"target": targetID, "limit": limit, "live": bun.Safe(liveNotifications("deliveries"))})
	if err != nil {
		return nil, err
	}
	return list, nameHolders(ctx, db, list)
}

// nameHolders fills the HolderName of deliveries. Most deliveries have none: where all of list have none, it asks the
// database for nothing.
func nameHolders(ctx context.Context, db bun.IDB, list []PendingDelivery) error {
	ids := map[rule.HolderKind]numbers{}
	for i := range list {
		if h := list[i].Holder; h.Kind == rule.HolderSubscription || h.Kind == rule.HolderGroup {
			ids[h.Kind] = append(ids[h.Kind], h.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	named, err := queryAll[struct {
		rule.Holder
		Name string
	}](ctx, db, holderNames,
		args{"subscriptions": ids[rule.HolderSubscription], "groups": ids[rule.HolderGroup]})
	if err != nil {
		return err
	}
	names := make(map[rule.Holder]string, len(named))
	for _, n := range named {
		names[n.Holder] = n.Name
	}
	for i := range list {
		list[i].HolderName = names[list[i].Holder]
	}
	return nil
}

// DeliverySet is the deliveries to one target that one message stands for: a single one, those of a digest, or a batch
// for a signed webhook, whose message contains each notification.
type DeliverySet struct {
	TargetID int64
	IDs      []int64 // of deliveries
	Digest   bool    // it is a digest or a batch
	Batch    int64   // the number of a digest or batch that is tried again; 0: Number gives it one
	All      bool    // everything that waits, when the target is given up
}

// partSize is how many deliveries one transaction changes: more may take longer than a worker has to record the
// outcome of a message.
const partSize = 10_000

// Parts splits s into sets of deliveries that are recorded one after the other.
func (s DeliverySet) Parts() []DeliverySet {
	parts := make([]DeliverySet, 0, len(s.IDs)/partSize+1)
	for ids := range slices.Chunk(s.IDs, partSize) {
		part := s
		part.IDs, part.Batch = ids, s.Number()
		parts = append(parts, part)
	}
	return parts
}

// Number is the number of a digest or batch: the id of the last delivery that it had when it was tried first, whatever
// has left it since. It is 0 for a single delivery.
func (s DeliverySet) Number() int64 {
	switch {
	case !s.Digest:
		return 0
	case s.Batch == 0 && len(s.IDs) > 0:
		return s.IDs[len(s.IDs)-1]
	}
	return s.Batch
}
