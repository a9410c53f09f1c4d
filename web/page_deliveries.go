package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

const (
	deliveriesPath   = "/deliveries"
	failedEventsPath = "/failed-events"
	// mostFailing is how many failing targets one page shows.
	mostFailing = 100
	// mostFailedEvents is how many events that are set aside one page shows.
	mostFailedEvents = 50
)

// deliveryList is the page of the deliveries.
type deliveryList struct {
	Failing  []failingRow
	States   []option
	Channels []option
	Product  *linkTo
	ID       int64 // of the product
	Rows     []deliveryRow
	Older    string
	First    string
	MayAll   bool
	Admin    bool
	Events   []failedEventAnswer
	AllShown bool // there are no more events than Events
	Alive    *aliveAnswer
	Waits    string // how long what is due waits
}

// failingRow is a target that fails.
type failingRow struct {
	ID        int64
	Channel   string
	Target    string
	Since     *time.Time
	NextAt    *time.Time
	Waiting   int
	Failed    int
	LastError string
	May       bool // resend
}

// deliveryRow is a delivery in a list.
type deliveryRow struct {
	DeliveryAnswer
	Channel      string
	From         linkTo // where the contact was set
	notification int64
	Type         rule.Type // of the notification
	Notification linkTo
	Where        linkTo // the product; without a path where there is none to show
	CreatedAt    time.Time
	May          bool // resend it
}

func (s *server) showDeliveries(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	v := viewerOf(ctx)
	state, by, before := queryWord(r, "state", dbmodel.States), queryWord(r, "channel", rule.Channels),
		queryID(r, "before")
	out := deliveryList{ID: queryID(r, "product_id"), Admin: v.Admin, States: choices(dbmodel.States, "Any state", state)}
	out.Channels = append(out.Channels, option{"", "Any channel", by == ""})
	for _, c := range rule.Channels {
		out.Channels = append(out.Channels, option{string(c), channelName(c), c == by})
	}
	product := ""
	if out.ID != 0 {
		p, err := dbmodel.VisibleProductByID(ctx, s.db.Reader, v, out.ID)
		if err != nil {
			return missing(err, "product", out.ID)
		}
		out.Product, product = &linkTo{productPath(p.ID), p.Name}, strconv.FormatInt(p.ID, 10)
	}
	list, err := dbmodel.Deliveries(ctx, s.db.Reader, v, dbmodel.DeliveryFilter{
		State: state, Channel: by, ProductID: out.ID, Before: before,
	}, rowsOfPage+1)
	if err != nil {
		return fmt.Errorf("list deliveries: %w", err)
	}
	query := []string{"state", string(state), "channel", string(by), "product_id", product}
	if len(list) > rowsOfPage {
		list = list[:rowsOfPage]
		out.Older = withQuery(deliveriesPath, append(query, "before", strconv.FormatInt(list[rowsOfPage-1].ID, 10))...)
	}
	if before != 0 {
		out.First = withQuery(deliveriesPath, query...)
	} else if err := s.loadFailing(ctx, &out); err != nil {
		return err
	}
	if out.Rows, err = s.deliveryRows(ctx, list); err != nil {
		return err
	}
	if err := s.offerResend(ctx, out.Rows); err != nil {
		return err
	}
	return s.render(w, r, view{template: "deliveries", title: "Deliveries", section: "deliveries", data: out})
}

// offerResend says of rows that failed whether the caller may resend them.
func (s *server) offerResend(ctx context.Context, rows []deliveryRow) error {
	var ids []int64
	for _, d := range rows {
		if d.State == dbmodel.Failed {
			ids = append(ids, d.notification)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	may, _, err := dbmodel.NotificationRights(ctx, s.db.Reader, viewerOf(ctx), ids, rule.Maintainer)
	if err != nil {
		return fmt.Errorf("ask for the rights on notifications: %w", err)
	}
	for i := range rows {
		rows[i].May = rows[i].State == dbmodel.Failed && slices.Contains(may, rows[i].notification)
	}
	return nil
}

// loadFailing fills in what stands above the list: failing targets and, for administrators, events that are set aside.
func (s *server) loadFailing(ctx context.Context, out *deliveryList) error {
	v := viewerOf(ctx)
	failing, err := dbmodel.FailingTargets(ctx, s.db.Reader, v, rule.Maintainer, mostFailing)
	if err != nil {
		return fmt.Errorf("list failing targets: %w", err)
	}
	for _, t := range failing {
		out.MayAll = out.MayAll || t.Entitled && t.Failed > 0
		out.Failing = append(out.Failing, failingRow{
			ID: t.ID, Channel: channelName(t.Channel), Target: s.redacted(t.Channel, t.Address), Since: t.Since,
			NextAt:  t.NextAt,
			Waiting: t.Waiting, Failed: t.Failed, LastError: t.LastError, May: t.Entitled,
		})
	}
	if !v.Admin {
		return nil
	}
	alive, err := s.loadAlive(ctx)
	if err != nil {
		return err
	}
	out.Alive, out.Waits = &alive, alive.waits()
	events, err := s.apiListFailedEvents(ctx, &ListParams{Limit: mostFailedEvents})
	if err != nil {
		return err
	}
	out.Events, out.AllShown = events.Body.Items, events.Body.NextCursor == nil
	return nil
}

// waits says how long what is due waits.
func (a *aliveAnswer) waits() string {
	of := func(what string, seconds float64) string {
		if text := span(time.Duration(seconds * float64(time.Second))); text != "" {
			return "The oldest " + what + " waits for " + text + ". "
		}
		return ""
	}
	text := of("event", a.OldestEventSeconds) + of("delivery", a.OldestDeliverySeconds)
	return cmp.Or(strings.TrimSpace(text), "Nothing that is due waits for more than a few seconds.")
}

// deliveryRows shows deliveries with what they are about.
func (s *server) deliveryRows(ctx context.Context, list []dbmodel.Delivery) ([]deliveryRow, error) {
	if len(list) == 0 {
		return nil, nil
	}
	ids := make([]int64, len(list))
	for i := range list {
		ids[i] = list[i].NotificationID
	}
	heads, err := dbmodel.NotificationHeads(ctx, s.db.Reader, viewerOf(ctx), ids)
	if err != nil {
		return nil, fmt.Errorf("load notifications: %w", err)
	}
	out := make([]deliveryRow, 0, len(list))
	for i := range list {
		n, there := heads[list[i].NotificationID]
		if !there { // deleted in this moment
			continue
		}
		row := deliveryRow{
			DeliveryAnswer: s.showDelivery(&list[i]), Channel: channelName(list[i].Channel),
			From:      deliveredFrom(viewerOf(ctx), &list[i]),
			CreatedAt: n.CreatedAt, Type: n.Type,
			notification: n.ID, Notification: linkTo{notificationPath(n.ID), nameOf(&n)}, Where: linkTo{Text: whereOf(&n)},
		}
		if n.Type == rule.TypeSecurityGate {
			row.Notification.Text += " " + strings.ToLower(gateEvent(n.Event))
		}
		if n.ProductID != nil {
			row.Where = linkTo{productPath(*n.ProductID), cmp.Or(n.Facts.ProductName, fmt.Sprintf("product %d", *n.ProductID))}
		}
		out = append(out, row)
	}
	return out, nil
}

// backFrom is where a form was sent from, where that is one of our lists; else the deliveries.
func backFrom(r *http.Request) string {
	if next := r.PostForm.Get("next"); next != "" {
		return localPath(next)
	}
	return deliveriesPath
}

func (s *server) resendOne(w http.ResponseWriter, r *http.Request) error {
	id, err := idInPath(r, "delivery")
	if err != nil {
		return err
	}
	if _, err := s.apiResendDelivery(r.Context(), &IDParam{id}); err != nil {
		return err
	}
	s.notice(r.Context(), "The delivery waits to be sent. Load this page anew in a moment to see what became of it.")
	s.redirect(w, r, backFrom(r))
	return nil
}

func (s *server) resendAll(w http.ResponseWriter, r *http.Request) error {
	out, err := s.resendFailed(r.Context(), 0)
	if err != nil {
		return err
	}
	s.notice(r.Context(), resentWords(out.Body.Resent))
	s.redirect(w, r, backFrom(r))
	return nil
}

func resentWords(n int) string {
	if n == 0 {
		return "Nothing waits again: no delivery failed that you may resend, or its webhook is not set any more."
	}
	return plural(n, "delivery waits", "deliveries wait") + " to be sent again."
}

// resendTarget sends what failed for a target again and has what waits tried at once.
func (s *server) resendTarget(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	id, err := idInPath(r, "target")
	if err != nil {
		return err
	}
	t, err := dbmodel.FailingTargetByID(ctx, s.db.Reader, viewerOf(ctx), rule.Maintainer, id)
	if err != nil {
		return missing(err, "target", id)
	}
	if !t.Entitled {
		return needs(rule.NoRole, rule.Maintainer)
	}
	out, err := s.resendFailed(ctx, id)
	if err != nil {
		return err
	}
	if t.Waiting > 0 {
		if err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			return dbmodel.RetryTarget(ctx, tx, id)
		}); err != nil {
			return fmt.Errorf("retry target %d: %w", id, err)
		}
		s.queue.Poke(ctx, []int64{id})
	}
	words := resentWords(out.Body.Resent)
	if t.Waiting > 0 {
		words = plural(out.Body.Resent+t.Waiting, "delivery is", "deliveries are") + " tried at once."
	}
	s.notice(ctx, words)
	s.redirect(w, r, backFrom(r))
	return nil
}

// retryEvents evaluates events again that are set aside: the one with the given id, or all.
func (s *server) retryEvents(w http.ResponseWriter, r *http.Request) error {
	var sent retryFields
	if id := queryID(r, "id"); id != 0 {
		sent.IDs = input.Field[[]int64]{Set: true, Value: []int64{id}}
	}
	out, err := s.retryFailedEvents(r.Context(), &sent)
	if err != nil {
		return err
	}
	s.notice(r.Context(), plural(int(out.Body.Retried), "event is", "events are")+" evaluated again within seconds.")
	s.redirect(w, r, deliveriesPath)
	return nil
}

// dismissEvent deletes an event that is set aside.
func (s *server) dismissEvent(w http.ResponseWriter, r *http.Request) error {
	id, err := idInPath(r, "failed event")
	if err != nil {
		return err
	}
	if _, err := s.apiDismissFailedEvent(r.Context(), &IDParam{id}); err != nil {
		return err
	}
	s.notice(r.Context(), fmt.Sprintf("Event %d is dismissed.", id))
	s.redirect(w, r, deliveriesPath)
	return nil
}

// eventWords is what an event that is set aside was to do.
func eventWords(k eventKind) string {
	switch dbmodel.EventKind(k) {
	case dbmodel.KindObservation:
		return "Evaluate observations"
	case dbmodel.KindBaseline:
		return "Remember observations of a baseline"
	case dbmodel.KindRefused:
		return "Accept what came through Redis"
	default:
		return rule.Type(k).Info().Name
	}
}
