package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

// inboxRows is how many notifications one page of the inbox shows.
const inboxRows = 50

// inboxView is the page of the inbox.
type inboxView struct {
	Filter inboxFilter
	Rows   []inboxRow
	Self   string // the address of this view, to come back to
	Older  string // the next page; empty: there is none
	Newest string // the first page, from another one
	Until  string // when the page was made, by the database's clock: what was there then can be marked as viewed
	May    bool   // delete one of the rows
	Empty  emptyInbox
}

// emptyInbox says why there is nothing, and what to do.
type emptyInbox struct {
	Text  string
	Steps []linkTo
}

// inboxRow is one line.
type inboxRow struct {
	ID                    int64
	Kind                  string // colours the line
	Lead                  string // how bad it is, or what it is about
	Event                 string
	Name                  string
	Change                string // from what to what
	Where                 string // the product, with its group
	Sent, Waiting, Failed int
	CreatedAt             time.Time
	Viewed                bool
	May                   bool // delete it
}

func (s *server) showInbox(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	now, err := dbmodel.DatabaseNow(ctx, s.db.Reader) // before the list: what comes meanwhile is not marked with it
	if err != nil {
		return fmt.Errorf("ask for the time: %w", err)
	}
	v := inboxView{Self: r.URL.RequestURI(), Until: now.UTC().Format(time.RFC3339Nano)}
	in := notificationParams{ListParams: ListParams{Limit: inboxRows, Cursor: r.FormValue("cursor")}, Sort: "-created_at"}
	if err := s.readInboxFilter(r, &in, &v.Filter); err != nil {
		return err
	}
	list, err := s.listNotifications(ctx, &in)
	if err != nil {
		return err
	}
	if err := s.inboxRows(ctx, &v, list[:min(len(list), inboxRows)]); err != nil {
		return err
	}
	if len(list) > inboxRows {
		last := list[inboxRows-1]
		v.Older = withParam(r.URL, "cursor", positionCursorOf(dbmodel.Position{CreatedAt: last.CreatedAt, ID: last.ID},
			in.Sort))
	}
	if in.Cursor != "" {
		v.Newest = withParam(r.URL, "cursor", "")
	}
	if len(list) == 0 {
		if v.Empty, err = s.whyEmpty(ctx, v.Filter, in.Cursor != ""); err != nil {
			return err
		}
	}
	return s.render(w, r, view{template: "inbox", title: "Inbox", section: "inbox", data: v})
}

// withParam is the address of a page with one parameter changed; an empty value takes it away.
func withParam(u *url.URL, name, value string) string {
	q := u.Query()
	q.Del(name)
	if value != "" {
		q.Set(name, value)
	}
	if len(q) == 0 {
		return u.Path
	}
	return u.Path + "?" + q.Encode()
}

// inboxRows fills the lines of a page.
func (s *server) inboxRows(ctx context.Context, v *inboxView, list []listedNotification) error {
	if len(list) == 0 {
		return nil
	}
	ids := make([]int64, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	may, _, err := dbmodel.NotificationRights(ctx, s.db.Reader, viewerOf(ctx), ids, rule.Owner)
	if err != nil {
		return fmt.Errorf("ask for the rights on notifications: %w", err)
	}
	v.May = len(may) > 0
	for i := range list {
		row := rowOf(&list[i])
		row.May = slices.Contains(may, row.ID)
		v.Rows = append(v.Rows, row)
	}
	return nil
}

func rowOf(n *listedNotification) inboxRow {
	row := inboxRow{
		ID: n.ID, Name: nameOf(&n.Notification), Where: whereOf(&n.Notification), CreatedAt: n.CreatedAt, Viewed: n.viewed,
	}
	row.Kind, row.Lead, row.Event = leadOf(&n.Notification)
	row.Change = changeWords(changesOf(n.Before(), n.After()))
	for i := range n.deliveries {
		switch n.deliveries[i].State {
		case dbmodel.Sent:
			row.Sent++
		case dbmodel.Pending:
			row.Waiting++
		case dbmodel.Failed:
			row.Failed++
		}
	}
	return row
}

// nameOf is what a notification is about, as a line of a list says it.
func nameOf(n *dbmodel.Notification) string {
	name := strings.TrimSpace(n.Name)
	switch {
	case n.Type == rule.TypeSecurityGate:
		return n.Type.Info().Name
	case n.Own && n.Type == rule.TypeTask:
		name = message.OwnFailure(n)
	case (n.Type == rule.TypeTask || n.Type == rule.TypeException) && n.Function != "":
		name = n.Function + ": " + name
	}
	return cmp.Or(shortened(name), "(no title)")
}

// leadOf says how bad a notification is, or what it is about, and what happened; kind is the class of its colour.
func leadOf(n *dbmodel.Notification) (kind, lead, event string) {
	event = eventTitles[n.Event]
	switch n.Type {
	case rule.TypeSecurityGate:
		kind, lead = "gate", n.Type.Info().Short
		if n.Event == rule.EventFailed {
			kind = "gate failed"
		}
		event = gateEvent(n.Event)
	case rule.TypeException, rule.TypeTask:
		kind, lead = "fault-kind", n.Type.Info().Short
		if n.Suppressed > 0 {
			event = "×" + number(n.Suppressed+1)
		}
	case rule.TypeObservation, rule.TypeObservationTitle:
		kind, lead = severityClass(n.AfterSeverity), string(n.AfterSeverity)
	default:
		kind, lead = "gate", n.Type.Info().Short
	}
	return kind, lead, event
}

// gateEvent is what became of a security gate.
func gateEvent(e rule.Event) string {
	if e == rule.EventNoResult {
		return "No result"
	}
	return eventTitles[e]
}

// eventTitles are the events as they stand in a line.
var eventTitles = map[rule.Event]string{
	rule.EventNew: "New", rule.EventChanged: "Changed", rule.EventDropped: "Dropped",
	rule.EventPassed: "Passed", rule.EventFailed: "Failed",
}

// whereOf is the product with its group, as they were named then; of a title, in how many products it is.
func whereOf(n *dbmodel.Notification) string {
	f := &n.Facts
	switch {
	case n.Type == rule.TypeObservationTitle:
		return "in " + plural(max(f.Products, 1), "product", "products")
	case f.ProductGroupName != "" && f.ProductName != "":
		return shortened(f.ProductGroupName + " · " + f.ProductName)
	}
	return shortened(f.ProductName)
}

// whyEmpty says why a list shows nothing, and what to do next.
func (s *server) whyEmpty(ctx context.Context, f inboxFilter, behind bool) (emptyInbox, error) {
	switch {
	case behind:
		return emptyInbox{"There is nothing older.", []linkTo{{"/", "To the newest"}}}, nil
	case f.Set && f.Unviewed:
		return emptyInbox{
			"Nothing that is not viewed fits this filter.",
			[]linkTo{{"/", "Show all that is not viewed"}, {"/?viewed=all", "Show viewed ones, too"}},
		}, nil
	case f.Set:
		return emptyInbox{"Nothing fits this filter.", []linkTo{{"/?viewed=all", "Show everything"}}}, nil
	}
	one, err := dbmodel.Notifications(ctx, s.db.Reader, viewerOf(ctx), dbmodel.NotificationFilter{}, 1)
	if err != nil {
		return emptyInbox{}, fmt.Errorf("ask for notifications: %w", err)
	}
	without, err := dbmodel.CountWithoutRecipients(ctx, s.db.Reader, viewerOf(ctx))
	if err != nil {
		return emptyInbox{}, fmt.Errorf("count products: %w", err)
	}
	steps := []linkTo(nil)
	if without > 0 {
		steps = []linkTo{
			{
				withQuery(productsPath, "contacts", noContact),
				plural(without, "product has", "products have") + " no target for notifications: set one",
			},
		}
	}
	sight := ""
	if !viewerOf(ctx).Admin {
		if sight, err = s.memberSight(ctx); err != nil {
			return emptyInbox{}, err
		}
		sight = " " + sight
	}
	if len(one) > 0 {
		return emptyInbox{
			"Nothing new: you have viewed everything." + sight, append(steps, linkTo{"/?viewed=all", "Show viewed ones"}),
		}, nil
	}
	return s.nothingYet(ctx, sight, steps)
}

// nothingYet says why there was never a notification that the caller sees, and what to do next.
func (s *server) nothingYet(ctx context.Context, sight string, steps []linkTo) (emptyInbox, error) {
	products, err := dbmodel.SearchProducts(ctx, s.db.Reader, viewerOf(ctx), dbmodel.ProductSearch{}, 1)
	if err != nil {
		return emptyInbox{}, fmt.Errorf("list products: %w", err)
	}
	nothing := "Nothing has happened yet that is worth knowing."
	if sight != "" {
		nothing = "Nothing has happened yet that you may see."
	}
	switch {
	case len(products) > 0:
		return emptyInbox{
			nothing + " Conditions and contacts are set for each product." + sight,
			append(steps, linkTo{productsPath, "Look at the products"}, linkTo{
				observationsPath, "Ask why an observation was not notified",
			}),
		}, nil
	case viewerOf(ctx).Admin:
		return emptyInbox{
			"There are no products yet: the application that Tocsin serves reports them over HTTP.",
			[]linkTo{{usersPath, "Add a user for it, with a token"}, {settingsPath, "Look at the settings"}},
		}, nil
	}
	administrated, err := dbmodel.HasAdministrator(ctx, s.db.Reader)
	if err != nil {
		return emptyInbox{}, fmt.Errorf("look for an administrator: %w", err)
	}
	if !administrated {
		return emptyInbox{"There is no administrator yet. " +
			"Make one with the link that \"tocsin serve\" printed when it started, " +
			"or with \"tocsin user add NAME --admin\".", nil}, nil
	}
	return emptyInbox{
		"You are a member of no product yet, so there is nothing to see. Ask an owner of a product, or an administrator.",
		nil,
	}, nil
}
