package dbmodel

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// StoredNetDigest is a net digest as it is stored: the content of a message to any number of targets.
type StoredNetDigest struct {
	Occasion string `json:"occasion"` // "Daily"
	rule.NetDigest
	Names map[int64]string `json:"names"` // of the products
}

// NotificationRange says which notifications a digest sums up.
type NotificationRange struct {
	// After and Through are numbers: the id of a notification or, of one that a pause held back, the number that it got
	// when the pause ended.
	After, Through int64
	Types          []rule.Type
	Products       []int64
	AllProducts    bool // and notifications that have no product
	HeldBack       bool // those that wait for the end of a pause, and no others
	// SentTo is a subscription: rule.Notification.Sent says whether it received the notification at once. Without a
	// subscription, 0, Sent is false.
	SentTo int64
}

// summedNotification is a notification with no more than a net digest must know of it.
type summedNotification struct {
	ID, ProductID, ObservationID  int64
	Type                          rule.Type
	Event, GateBefore             rule.Event
	Name                          string
	ParserType                    rule.ParserType
	BeforeSeverity, AfterSeverity rule.Severity
	BeforeStatus, AfterStatus     rule.Status
	BeforePriority, AfterPriority *int
	BeforeKnownExploited          *bool
	AfterKnownExploited           *bool
	Suppressed                    int
	Released                      *int64
	Sent                          bool
}

const (
	// firstSummed selects an id below those of the notifications that got a number above @after when a pause ended: their
	// ids are lower than these numbers.
	firstSummed = `
		SELECT coalesce((SELECT min(id) - 1 FROM notifications WHERE released > @after), @after)`

	summedNotifications = `
		SELECT n.id, n.product_id, n.observation_id, n.type, n.event, n.name, n.facts ->> 'parser_type' AS parser_type,
			n.before_severity, n.before_status, n.before_priority, n.before_known_exploited,
			n.after_severity, n.after_status, n.after_priority, n.after_known_exploited, n.suppressed, n.released, @sent AS sent,
			n.facts ->> 'gate_before' AS gate_before
		FROM notifications n
		WHERE n.id > @behind AND n.id <= @through AND (n.id > @after OR n.released > @after)
			AND (n.released IS NULL OR n.released <= @through) AND n.held_back = @held_back
			AND n.type = ANY (@types) AND (@all_products OR n.product_id = ANY (@products)) AND @live
		ORDER BY n.type, CASE n.type WHEN 'observation' THEN n.observation_id WHEN 'security_gate' THEN n.product_id END,
			CASE WHEN n.type NOT IN ('observation', 'security_gate') THEN n.name END, n.id`

	// alreadySent is the condition that a notification n went to the subscription by itself, outside of digests. It also
	// holds where n went to a target of the subscription for another reason: it is known there, too.
	alreadySent = `
		EXISTS (SELECT 1 FROM deliveries d WHERE d.notification_id = n.id AND d.digest_id IS NULL
			AND (d.source_kind = 'subscription' AND d.source_id = @subscription
				OR d.target_id IN (SELECT c.target_id FROM contacts c WHERE c.subscription_id = @subscription)))`
)

// EachNotification calls yield for the notifications in a range, thing by thing as rule.NewNetDigest wants them, until
// yield returns false. It keeps none of them. yield must not ask the database for anything.
func EachNotification(ctx context.Context, db bun.IDB, r NotificationRange, yield func(*rule.Notification) bool) error {
	if len(r.Types) == 0 || len(r.Products) == 0 && !r.AllProducts {
		return nil
	}
	behind, err := queryOne[int64](ctx, db, firstSummed, args{"after": r.After})
	if err != nil {
		return fmt.Errorf("find the first notification of a digest: %w", err)
	}
	allProducts := bun.Safe("FALSE") // constant, so that the plan knows it
	if r.AllProducts {
		allProducts = "TRUE"
	}
	sent := "FALSE"
	if r.SentTo != 0 {
		sent = compose(db, alreadySent, args{"subscription": bun.Safe(strconv.FormatInt(r.SentTo, 10))})
	}
	err = queryEach(ctx, db, summedNotifications, args{
		"behind": min(behind, r.After), "through": r.Through, "after": r.After, "held_back": r.HeldBack,
		"types": textsOf(r.Types), "all_products": allProducts, "products": numbers(r.Products),
		"live": bun.Safe(liveNotifications("n")), "sent": bun.Safe(sent),
	}, func(n *summedNotification) bool { return yield(n.rule()) })
	if err != nil {
		return fmt.Errorf("read the notifications of a digest: %w", err)
	}
	return nil
}

func (n *summedNotification) rule() *rule.Notification {
	out := &rule.Notification{
		ID: n.ID, Type: n.Type, Event: n.Event, Product: n.ProductID, ParserType: n.ParserType,
		Before:     values(n.BeforeSeverity, n.BeforeStatus, n.BeforePriority, n.BeforeKnownExploited),
		After:      values(n.AfterSeverity, n.AfterStatus, n.AfterPriority, n.AfterKnownExploited),
		GateBefore: n.GateBefore, HeldBack: n.Released != nil, Sent: n.Sent,
	}
	switch n.Type {
	case rule.TypeObservation:
		out.Thing = n.ObservationID
	case rule.TypeObservationTitle:
		out.Thing, out.Name = titleIndex(n.Name), n.Name
	case rule.TypeSecurityGate:
		out.Thing = n.ProductID
	default:
		out.Name, out.Occurrences = n.Name, n.Suppressed+1
	}
	return out
}

const (
	addDigest = `
		INSERT INTO digests (content, notifications) VALUES (@content::jsonb, @notifications::jsonb) RETURNING id`

	addDigestDeliveries = `
		INSERT INTO deliveries (notification_id, target_id, source_kind, source_id, user_id, masked, product_id, type,
			digest_id)
		SELECT n.id, d.target, d.source_kind, d.source_id, d.user_id, d.masked, n.product_id, n.type, @digest
		FROM @deliveries AS d CROSS JOIN @named AS named JOIN notifications n ON n.id = named.id
		ORDER BY d.ord, named.ord FOR KEY SHARE OF n`

	digestByID = `
		SELECT content FROM digests WHERE id = @id`

	pendingOfDigest = `
		SELECT id, notification_id FROM deliveries
		WHERE digest_id = @digest AND target_id = @target AND state = 'pending' AND @live ORDER BY id`

	deleteOldDigests = `
		DELETE FROM digests WHERE created_at < @before
			AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.digest_id = digests.id AND d.state = 'pending')`
)

// AddDigest stores a digest and returns its id.
func AddDigest(ctx context.Context, tx bun.Tx, d *StoredNetDigest) (int64, error) {
	all, shown := append([]int64{}, d.Notifications...), *d
	shown.Notifications = nil
	content, err := json.Marshal(shown)
	if err != nil {
		return 0, fmt.Errorf("write a digest: %w", err)
	}
	return queryOne[int64](ctx, tx, addDigest, args{"content": string(content), "notifications": jsonArg(all)})
}

// AddDigestDeliveries stores a pending delivery for each of the notifications and each of the recipients. digest is
// the id of the digest that they are delivered in; 0: in none.
func AddDigestDeliveries(
	ctx context.Context, tx bun.Tx, notifications []int64, to []rule.Recipient, digest int64,
) error {
	if len(notifications) == 0 || len(to) == 0 {
		return nil
	}
	deliveries := deliveryCols([]NewNotification{{Recipients: to}})
	named := rows{column(notifications, "id", "bigint", func(id *int64) int64 { return *id })}
	a := args{"deliveries": deliveries, "named": named, "digest": bun.Safe("NULL")}
	if digest != 0 {
		a["digest"] = digest
	}
	_, err := exec(ctx, tx, addDigestDeliveries, a)
	return err
}

// NetDigestByID returns a digest in full, whatever a viewer may see of it; ErrNotFound where there is none.
func NetDigestByID(ctx context.Context, db bun.IDB, id int64) (*StoredNetDigest, error) {
	content, err := queryOne[string](ctx, db, digestByID, args{"id": id})
	if err != nil {
		return nil, err
	}
	d := new(StoredNetDigest)
	if err := json.Unmarshal([]byte(content), d); err != nil {
		return nil, fmt.Errorf("read digest %d: %w", id, err)
	}
	return d, nil
}

// PendingOfDigest lists the deliveries of a digest that wait for a target, by id, and their notifications.
func PendingOfDigest(
	ctx context.Context, db bun.IDB, digest, target int64,
) (ids []int64, notifications map[int64]bool, err error) {
	list, err := queryAll[struct{ ID, NotificationID int64 }](ctx, db, pendingOfDigest,
		args{"digest": digest, "target": target, "live": bun.Safe(liveNotifications("deliveries"))})
	notifications = make(map[int64]bool, len(list))
	for _, d := range list {
		ids, notifications[d.NotificationID] = append(ids, d.ID), true
	}
	return ids, notifications, err
}

// DeleteOldDigests deletes the digests that were made before a time and have no pending delivery.
func DeleteOldDigests(ctx context.Context, db bun.IDB, before time.Time) (int64, error) {
	return exec(ctx, db, deleteOldDigests, args{"before": before})
}

// Restrict leaves out the products that are not in seen, and the failures whose last notification is not in
// notifications.
func (d *StoredNetDigest) Restrict(seen, notifications map[int64]bool) {
	d.Products = slices.DeleteFunc(d.Products, func(p rule.ProductChanges) bool { return !seen[p.Product] })
	d.Failures = slices.DeleteFunc(d.Failures, func(f rule.Failure) bool { return !notifications[f.Last] })
}

// Named lists, by id, up to limit notifications that a message of d names. All changes that d names are among them:
// limit is at least rule.MaxNamedChanges. Gates and failures share what is left; the gates of the worst products, and
// the most frequent failures, come before others.
func (d *StoredNetDigest) Named(limit int) []int64 {
	var gates, changes, failures []int64
	for _, p := range d.Products {
		if p.Gate != nil {
			gates = append(gates, p.Gate.Last)
		}
		for _, c := range p.Named {
			changes = append(changes, c.Last)
		}
	}
	for _, f := range d.Failures {
		failures = append(failures, f.Last)
	}
	rest := max(limit-len(changes), 0)
	gates = gates[:min(len(gates), max(rest/2, rest-len(failures)))]
	failures = failures[:min(len(failures), rest-len(gates))]
	return slices.Sorted(slices.Values(slices.Concat(gates, changes, failures)))
}

// notificationsOfDigest is a query of the ids in rule.NetDigest.Notifications of a stored digest: of all notifications
// that it sums up, the last one of each thing and of each failure.
func notificationsOfDigest(db bun.IDB, id int64) string {
	if isSQLite(db) {
		return fmt.Sprintf("SELECT value FROM digests, json_each(digests.notifications) WHERE digests.id = %d", id)
	}
	return fmt.Sprintf("SELECT jsonb_array_elements_text(notifications)::bigint FROM digests WHERE digests.id = %d", id)
}
