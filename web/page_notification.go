package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

// notificationView is the page of a notification.
type notificationView struct {
	Row        inboxRow
	Headline   string
	Facts      []channel.Fact
	Product    *linkTo
	Bearers    *linkTo  // of a title: its observations
	Changes    []change // nil: nothing was notified of it before
	Message    string
	Arguments  string
	Trace      string
	Hidden     bool // there is a message, a trace or arguments that administrators alone may read
	Deliveries []sentTo
	PassedOver []recipientRow // contacts of today that have no delivery
	Why        string         // the explanation of the observation; empty: there is none
	Outside    *linkTo        // the application's own page
	Deliver    bool           // the viewer may deliver it by hand
	Self       string
}

// change is one value before and after.
type change struct {
	Name, Before, After string
	Changed             bool
}

// sentTo is one delivery.
type sentTo struct {
	DeliveryAnswer
	ChannelName string
	From        linkTo // where the contact was set
	May         bool   // resend it
	Digest      bool   // it is a part of the digest of a schedule or a pause
}

func notificationPath(id int64) string { return fmt.Sprintf("/notifications/%d", id) }

func (s *server) showNotificationPage(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	id, err := idInPath(r, "notification")
	if err != nil {
		return err
	}
	n, err := s.loadNotification(ctx, id)
	if err != nil {
		return err
	}
	role := rule.Owner // what has no product is seen by administrators alone
	if n.ProductID != nil {
		if role, err = dbmodel.RoleIn(ctx, s.db.Reader, viewerOf(ctx), *n.ProductID); err != nil {
			return missing(err, "notification", id)
		}
	}
	settings, err := dbmodel.LoadSettings(ctx, s.db.Reader)
	if err != nil {
		return fmt.Errorf("load settings: %w", err)
	}
	v := notificationView{Row: rowOf(n), Self: r.URL.Path}
	v.Row.May, v.Deliver = role.Covers(rule.Owner), role.Covers(rule.Maintainer)
	m := message.Builder{BaseURL: s.baseURL, Settings: settings}.Single(&n.Notification, 0, message.Recipient{})
	v.Headline, v.Changes = m.Headline, changesOf(n.Before(), n.After())
	v.Facts = pageFacts(m.Facts, v.Changes != nil)
	if !strings.HasPrefix(m.Action.URL, s.baseURL+"/notifications/") {
		if _, ok := channel.WebLink(m.Action.URL); ok {
			v.Outside = &linkTo{m.Action.URL, m.Action.Label}
		}
	}
	if n.ProductID != nil {
		v.Product = &linkTo{productPath(*n.ProductID), whereOf(&n.Notification)}
	}
	v.fillTexts(n, viewerOf(ctx))
	if err := s.linkWhy(ctx, n, &v); err != nil {
		return err
	}
	if v.PassedOver, err = s.passedOver(ctx, n, settings); err != nil {
		return err
	}
	for i := range n.deliveries {
		d := s.showDelivery(&n.deliveries[i])
		v.Deliveries = append(v.Deliveries, sentTo{
			d, channelName(d.Channel), deliveredFrom(viewerOf(ctx), &n.deliveries[i]),
			d.State == dbmodel.Failed && role.Covers(rule.Maintainer),
			n.deliveries[i].DigestID != 0,
		})
	}
	return s.render(w, r, view{template: "notification", title: v.Headline, section: "inbox", data: v})
}

// passedOver lists the contacts that apply to a notification today and have no delivery of it, with the reasons.
// Contacts in the settings are shown to administrators alone.
func (s *server) passedOver(
	ctx context.Context, n *listedNotification, settings *dbmodel.Settings,
) ([]recipientRow, error) {
	e := explainer{s: s, settings: settings, viewer: viewerOf(ctx)}
	applied, err := e.appliedTo(ctx, s.db.Reader, &n.Notification)
	if err != nil {
		return nil, err
	}
	var product int64
	if n.ProductID != nil {
		product = *n.ProductID
	}
	applied.Subscriptions, err = dbmodel.SubscribersFor(ctx, s.db.Reader, e.viewer, product,
		settings.MemberNotificationTypes)
	if err != nil {
		return nil, err
	}
	e.about = n.Rule()
	all, err := e.recipients(ctx, s.db.Reader, applied)
	if err != nil {
		return nil, err
	}
	var out []recipientRow
	for _, r := range all {
		if slices.ContainsFunc(n.deliveries, func(d dbmodel.Delivery) bool { return d.TargetID == r.target }) {
			continue
		}
		row := recipientRow{Channel: channelName(r.Channel), Target: r.Target, From: r.from, Reason: r.Reason}
		if r.Recipient {
			row.Reason = rule.NotThen.Sentence()
		}
		out = append(out, row)
	}
	return out, nil
}

// appliedTo returns the settings of today that apply to a notification, as far as the viewer sees their contacts.
func (e *explainer) appliedTo(ctx context.Context, db bun.IDB, n *dbmodel.Notification) (a rule.Applied, err error) {
	holder := exceptionHolder
	switch n.Type.Info().Holder {
	case rule.HolderProduct:
		if n.ProductID == nil {
			return a, nil
		}
		products, err := dbmodel.ProductContexts(ctx, db, []int64{*n.ProductID})
		if err != nil {
			return a, fmt.Errorf("load product %d: %w", *n.ProductID, err)
		}
		if e.product = products[*n.ProductID]; e.product == nil {
			return a, nil // deleted in this moment
		}
		return rule.Effective(e.product.Product, e.product.Group), nil
	case rule.HolderTitles:
		holder = titleHolder
	default:
	}
	if !e.viewer.Admin {
		return a, nil
	}
	contacts, err := dbmodel.ContactsOf(ctx, db, holder)
	return rule.Applied{Contacts: contacts[holder]}, err
}

// pageFacts leaves out what the page shows in a place of its own; compared says that the values stand in a table.
func pageFacts(all []channel.Fact, compared bool) []channel.Fact {
	return slices.DeleteFunc(all, func(f channel.Fact) bool {
		switch f.Name {
		case "Product", "Arguments":
			return true
		case "Changed", "Severity", "Status", "Priority", "Known exploited":
			return compared
		}
		return false
	})
}

// changesOf lists the values before and after; nil where one of them is missing.
func changesOf(before, after *rule.Values) []change {
	if before == nil || after == nil {
		return nil
	}
	out := []change{
		{Name: "Severity", Before: string(before.Severity), After: string(after.Severity)},
		{Name: "Status", Before: string(before.Status), After: string(after.Status)},
		{Name: "Priority", Before: cmp.Or(numeral(before.Priority), "none"), After: cmp.Or(numeral(after.Priority), "none")},
	}
	for i := range out {
		out[i].Changed = out[i].Before != out[i].After
	}
	if before.KnownExploited != nil || after.KnownExploited != nil {
		out = append(out, change{
			Name: "Known exploited", Before: exploitedIs(before), After: exploitedIs(after),
			Changed: before.Exploited() != after.Exploited(),
		})
	}
	return out
}

func exploitedIs(v *rule.Values) string { return exploitedWord(v.KnownExploited != nil, v.Exploited()) }

// exploitedWord says whether something is known to be exploited.
func exploitedWord(known, exploited bool) string {
	switch {
	case !known:
		return "not known"
	case exploited:
		return "yes"
	}
	return "no"
}

// changeWords says in few words what changed: "High → Critical, priority 5 → 1".
func changeWords(all []change) string {
	var words []string
	for _, c := range all {
		if !c.Changed {
			continue
		}
		text := c.Before + " → " + c.After
		switch {
		case c.Name == "Priority":
			text = "priority " + text
		case c.Name == "Known exploited" && c.After == "yes":
			text = "now known exploited"
		case c.Name == "Known exploited":
			text = "no longer known exploited"
		}
		words = append(words, text)
	}
	return strings.Join(words, ", ")
}

// fillTexts shows what an exception said to administrators. Others learn that there is something.
func (v *notificationView) fillTexts(n *listedNotification, who dbmodel.Viewer) {
	if !who.Admin {
		v.Hidden = n.Message != "" || n.Trace != "" || len(n.Arguments) > 0
		return
	}
	v.Message, v.Trace = n.Message, n.Trace
	var b bytes.Buffer
	if len(n.Arguments) > 0 && json.Indent(&b, n.Arguments, "", "  ") == nil {
		v.Arguments = b.String()
	}
}

// linkWhy links the explanation where there still is something to explain: the observation or, of a title, the worst
// that bears it.
func (s *server) linkWhy(ctx context.Context, n *listedNotification, v *notificationView) error {
	var o *dbmodel.StoredObservation
	var err error
	anchor := ""
	switch {
	case n.Type == rule.TypeObservationTitle: // which administrators alone see
		anchor = "#title"
		o, err = dbmodel.WorstOfTitle(ctx, s.db.Reader, n.Name)
	case n.ObservationID != nil:
		o, err = dbmodel.VisibleObservationByID(ctx, s.db.Reader, viewerOf(ctx), *n.ObservationID)
	default:
		return nil
	}
	switch {
	case errors.Is(err, dbmodel.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("load what notification %d is about: %w", n.ID, err)
	}
	v.Why = explainPath(o.ID) + anchor
	if n.Type == rule.TypeObservationTitle {
		v.Bearers = &linkTo{withQuery(observationsPath, "q", n.Name), "Its observations"}
	}
	return nil
}
