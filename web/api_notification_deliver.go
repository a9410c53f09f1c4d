package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

type deliveredOutput struct {
	Body struct {
		Deliveries int `json:"deliveries" doc:"That wait to be sent now, of those that the caller sees"`
	}
}

// apiDeliverNotification delivers a notification by hand to all that would receive it by the settings, contacts and
// subscriptions of now, and have no delivery that waits or was sent. A pause does not count.
func (s *server) apiDeliverNotification(ctx context.Context, in *IDParam) (*deliveredOutput, error) {
	v := viewerOf(ctx)
	var added []rule.Recipient
	err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		n, err := dbmodel.NotificationForDelivery(ctx, tx, v, in.ID)
		if err != nil {
			return missing(err, "notification", in.ID)
		}
		role := rule.Owner // what has no product is seen by administrators alone
		if n.ProductID != nil {
			if err := dbmodel.KeepProducts(ctx, tx, []int64{*n.ProductID}); err != nil {
				return fmt.Errorf("keep product %d: %w", *n.ProductID, err)
			}
			if role, err = dbmodel.RoleIn(ctx, tx, v, *n.ProductID); err != nil {
				return missing(err, "notification", in.ID)
			}
		}
		if err := needs(role, rule.Maintainer); err != nil {
			return err
		}
		recipients, err := s.recipientsByHand(ctx, tx, n)
		if err != nil {
			return err
		}
		added, err = dbmodel.AddDeliveries(ctx, tx, n.ID, recipients)
		return err
	})
	if err != nil {
		return nil, err
	}
	targets := make([]int64, len(added))
	out := new(deliveredOutput)
	for i, r := range added {
		targets[i] = r.Target
		if v.Admin || !r.ForAdministrators && (r.User == 0 || r.User == v.UserID) {
			out.Body.Deliveries++
		}
	}
	slices.Sort(targets)
	s.queue.Poke(ctx, targets)
	return out, nil
}

// recipientsByHand are the recipients that a notification has now, whatever the caller sees of them.
func (s *server) recipientsByHand(ctx context.Context, tx bun.Tx, n *dbmodel.Notification) ([]rule.Recipient, error) {
	settings, err := dbmodel.LoadSettings(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("load settings: %w", err)
	}
	everything := dbmodel.Viewer{Admin: true}
	e := explainer{s: s, settings: settings, viewer: everything}
	applied, err := e.appliedTo(ctx, tx, n)
	if err != nil {
		return nil, err
	}
	about := n.Rule()
	applied.Subscriptions, err = dbmodel.SubscribersFor(ctx, tx, everything, about.Product,
		settings.MemberNotificationTypes)
	if err != nil {
		return nil, err
	}
	applied.Paused = false
	all := rule.Recipients(applied, about, rule.Ability{EmailFrom: settings.EmailFrom})
	return slices.DeleteFunc(all, func(r rule.Recipient) bool { return r.Reason != "" }), nil
}

// deliverOnPage delivers a notification by hand.
func (s *server) deliverOnPage(w http.ResponseWriter, r *http.Request) error {
	id, err := idInPath(r, "notification")
	if err != nil {
		return err
	}
	out, err := s.apiDeliverNotification(r.Context(), &IDParam{id})
	if err != nil {
		return err
	}
	text := "Nothing to deliver: all that would receive it now have it, or wait for it."
	if n := out.Body.Deliveries; n > 0 {
		text = plural(n, "delivery waits", "deliveries wait") +
			" to be sent. Load this page anew in a moment to see what became of it."
	}
	s.notice(r.Context(), text)
	s.redirect(w, r, notificationPath(id))
	return nil
}
