package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

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
	Changes    []change
	Message    string
	Arguments  string
	Trace      string
	Hidden     bool // there is a message, a trace or arguments that administrators alone may read
	Deliveries []sentTo
	Why        string  // the explanation of the observation; empty: there is none
	Outside    *linkTo // the application's own page
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
	May         bool // resend it
}

func (s *server) notificationPages(mux *http.ServeMux) {
	s.page(mux, "GET /notifications/{id}", people, s.showNotificationPage)
}

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
	v.Row.May = role.Covers(rule.Owner)
	m := message.Builder{BaseURL: s.baseURL, Settings: settings}.Notification(&n.Notification, 0, message.Recipient{})
	v.Headline, v.Facts = m.Headline, pageFacts(m.Facts)
	if !strings.HasPrefix(m.Action.URL, s.baseURL+"/notifications/") {
		if _, ok := channel.WebLink(m.Action.URL); ok {
			v.Outside = &linkTo{m.Action.URL, m.Action.Label}
		}
	}
	if n.ProductID != nil {
		v.Product = &linkTo{"/products/" + strconv.FormatInt(*n.ProductID, 10), whereOf(&n.Notification)}
	}
	v.Changes = changesOf(n.Before(), n.After(), n.Event)
	v.fillTexts(n, viewerOf(ctx))
	if err := s.linkWhy(ctx, n, &v); err != nil {
		return err
	}
	for i := range n.deliveries {
		d := s.showDelivery(&n.deliveries[i])
		v.Deliveries = append(v.Deliveries, sentTo{d, channelName(d.Channel), d.State == dbmodel.Failed && role.Covers(rule.Maintainer)})
	}
	return s.render(w, r, view{template: "notification", title: v.Headline, section: "inbox", data: v})
}

// pageFacts leaves out what the page shows in a place of its own.
func pageFacts(all []channel.Fact) []channel.Fact {
	var out []channel.Fact
	for _, f := range all {
		switch f.Name {
		case "Product", "Severity", "Status", "Priority", "Changed", "Arguments":
		default:
			out = append(out, f)
		}
	}
	return out
}

// changesOf lists the values before and after; without a before there is nothing to compare.
func changesOf(before, after *rule.Values, event rule.Event) []change {
	if after == nil && before == nil {
		return nil
	}
	text := func(v *rule.Values) [3]string {
		switch {
		case v == nil && event == rule.EventNew:
			return [3]string{"", "", ""}
		case v == nil:
			return [3]string{"–", "–", "–"}
		case v.Priority == nil:
			return [3]string{string(v.Severity), string(v.Status), "none"}
		}
		return [3]string{string(v.Severity), string(v.Status), strconv.Itoa(*v.Priority)}
	}
	b, a := text(before), text(after)
	out := make([]change, 3)
	for i, name := range []string{"Severity", "Status", "Priority"} {
		out[i] = change{name, b[i], a[i], before != nil && a[i] != b[i]}
	}
	return out
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

// linkWhy links the explanation where the observation is still there.
func (s *server) linkWhy(ctx context.Context, n *listedNotification, v *notificationView) error {
	if n.ObservationID == nil {
		return nil
	}
	_, err := dbmodel.VisibleObservationByID(ctx, s.db.Reader, viewerOf(ctx), *n.ObservationID)
	if err = missing(err, "observation", *n.ObservationID); err != nil {
		if problemOf(err).Status == http.StatusNotFound {
			return nil
		}
		return err
	}
	v.Why = fmt.Sprintf("/observations/%d/explain", *n.ObservationID)
	return nil
}
