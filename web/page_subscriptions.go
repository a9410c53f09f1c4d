package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

const subscriptionsPath = "/subscriptions"

// subscriptionList is the page My notifications: the subscriptions of the caller, and the form of a new one.
type subscriptionList struct {
	Rows   []subscriptionRow
	Shared []subscriptionRow // those of the whole installation, which administrators see
	Admin  bool
	Older  string
	First  string
	Email  string // of the caller; empty: none
	MyPage string // of an administrator: where to enter the address
	Team   string // the product or group whose team the new one is for; empty: it is the caller's own
	TeamID string // its Where
	Add    []formField
	Faulty int
	// Channels and Address are the line that says by which way.
	Channels     []option
	AddressFault string
}

// subscriptionRow is a subscription in few words.
type subscriptionRow struct {
	Path    string
	Name    string
	What    string
	By      string
	When    string
	Enabled bool
}

// When a new subscription sends: the cron lines that the form offers.
var schedules = []option{
	{Value: "", Label: "At once"},
	{Value: "0 8 * * *", Label: "One digest a day, at 8"},
	{Value: "0 8 * * 1-5", Label: "One digest on working days, at 8"},
	{Value: "0 8 * * 1", Label: "One digest a week, on Monday at 8"},
}

// whenWords says when a subscription sends.
func whenWords(schedule, timezone string) string {
	for _, o := range schedules {
		if o.Value != schedule {
			continue
		}
		if schedule == "" {
			return "at once"
		}
		return strings.ToLower(o.Label[:1]) + o.Label[1:] + ", " + timezone
	}
	return "a digest at " + schedule + ", " + timezone
}

// filterWords says in few words what a subscription takes.
func filterWords(f rule.Filter) string {
	var parts []string
	if f.MinSeverity != "" {
		parts = append(parts, string(f.MinSeverity)+" or worse")
	}
	if f.KnownExploited {
		parts = append(parts, "known exploited")
	}
	if f.MinPriority != nil {
		parts = append(parts, fmt.Sprintf("priority %d or more urgent", *f.MinPriority))
	}
	events := make([]string, len(f.Events))
	for i, e := range f.Events {
		events[i] = eventInWords(e)
	}
	for _, list := range []string{
		strings.Join(typesInWords(f.Types), " or "), strings.Join(events, ", "), rule.Joined(f.ParserTypes),
		rule.Joined(f.Statuses),
	} {
		if list != "" {
			parts = append(parts, list)
		}
	}
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, "; ")
}

func typesInWords(types []rule.Type) []string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = strings.ReplaceAll(string(t), "_", " ") + "s"
	}
	return out
}

// whereWords says what a subscription is about.
func whereWords(sub *dbmodel.Subscription) string {
	switch {
	case sub.ProductID != nil && sub.ProductName != "":
		return "in product " + sub.ProductName
	case sub.ProductID != nil:
		return fmt.Sprintf("in product %d", *sub.ProductID)
	case sub.ProductGroupID != nil && sub.ProductGroupName != "":
		return "in group " + sub.ProductGroupName
	case sub.ProductGroupID != nil:
		return fmt.Sprintf("in group %d", *sub.ProductGroupID)
	case sub.UserID != nil:
		return "in all that you see"
	}
	return "everywhere"
}

// contactsInWords says by which ways a subscription sends.
func contactsInWords(contacts []ContactAnswer) string {
	var out []string
	for _, c := range contacts {
		words := c.Channel.Info().Short
		if c.Address != "" {
			words += " " + c.Address
		}
		if c.DisabledAt != nil {
			words += " (its receiver is gone)"
		}
		out = append(out, words)
	}
	return strings.Join(out, ", ")
}

func (s *server) loadSubscriptions(r *http.Request) (*subscriptionList, error) {
	ctx := r.Context()
	v := viewerOf(ctx)
	cursor := r.URL.Query().Get("after")
	after, err := idCursor(cursor)
	if err != nil {
		return nil, err
	}
	list, err := dbmodel.Subscriptions(ctx, s.db.Reader, v, dbmodel.SubscriptionFilter{UserID: v.UserID, After: after},
		rowsOfPage+1)
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", err)
	}
	u, err := dbmodel.UserByName(ctx, s.db.Reader, v.Username)
	if err != nil {
		return nil, fmt.Errorf("load user %s: %w", v.Username, err)
	}
	p := &subscriptionList{Email: u.Email, Admin: v.Admin}
	if p.Rows, err = s.subscriptionRows(ctx, list[:min(len(list), rowsOfPage)]); err != nil {
		return nil, err
	}
	if v.Admin {
		p.MyPage = userPath(v.Username)
		shared, err := dbmodel.Subscriptions(ctx, s.db.Reader, v, dbmodel.SubscriptionFilter{Everywhere: true}, rowsOfPage)
		if err != nil {
			return nil, fmt.Errorf("list subscriptions: %w", err)
		}
		if p.Shared, err = s.subscriptionRows(ctx, shared); err != nil {
			return nil, err
		}
	}
	if len(list) > rowsOfPage {
		p.Older = withQuery(subscriptionsPath, "after", idCursorOf(list[rowsOfPage-1].ID))
	}
	if cursor != "" {
		p.First = subscriptionsPath
	}
	return p, s.fillNewSubscription(ctx, r, p)
}

// subscriptionRows says in few words what subscriptions take.
func (s *server) subscriptionRows(ctx context.Context, list []dbmodel.Subscription) ([]subscriptionRow, error) {
	ids := make([]int64, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	contacts, err := dbmodel.SubscriptionContacts(ctx, s.db.Reader, ids...)
	if err != nil {
		return nil, err
	}
	rows := make([]subscriptionRow, 0, len(list))
	for i := range list {
		a := s.showSubscription(&list[i], contacts[list[i].ID], nil)
		rows = append(rows, subscriptionRow{
			Path: subscriptionPath(a.ID), Name: a.Name, What: filterWords(list[i].Filter()) + " " + whereWords(&list[i]),
			By:   contactsInWords(a.Contacts),
			When: whenWords(a.Schedule, a.Timezone), Enabled: a.Enabled,
		})
	}
	return rows, nil
}

// fillNewSubscription makes the form of a new subscription: that of the team of a product or group where the address
// asks for it.
func (s *server) fillNewSubscription(ctx context.Context, r *http.Request, p *subscriptionList) error {
	where, err := s.whereOptions(ctx, queryText(r, "where"))
	if err != nil {
		return err
	}
	if r.FormValue("team") != "" {
		if viewerOf(ctx).Admin {
			p.Team = "the whole installation"
		}
		for _, o := range where {
			if o.Chosen && o.Value != "" {
				p.Team, p.TeamID = o.Label, o.Value
			}
		}
	}
	for _, c := range rule.Channels {
		p.Channels = append(p.Channels, option{
			Value: string(c), Label: c.Info().Name, Chosen: r.FormValue("channel") == string(c),
		})
	}
	severity := queryWord(r, "min_severity", rule.Severities)
	p.Add = []formField{
		{
			Name: "min_severity", Label: "What", Kind: choiceField,
			Options: choices(rule.Severities, "All that is notified", severity),
			Help:    "Of this severity or worse. More filters come on the next page.",
		},
		{
			Name: "schedule", Label: "When", Kind: choiceField, Options: append([]option(nil), schedules...),
			Help: "A digest says what changed since the one before.",
		},
		{
			Name: "timezone", Label: "Time zone", Kind: textField, Value: "UTC",
			Help: "Like Europe/Berlin: the clock of the digest.",
		},
	}
	if p.Team == "" {
		p.Add = append([]formField{{
			Name: "where", Label: "Where", Kind: choiceField, Options: where,
			Help: "One product, all of a group, or all that you see.",
		}}, p.Add...)
	}
	return nil
}

// whereOptions are the products and groups that the caller sees, as far as a list to choose from is of use.
func (s *server) whereOptions(ctx context.Context, chosen string) ([]option, error) {
	const most = 200
	v := viewerOf(ctx)
	out := []option{{"", "Everything that I see", chosen == ""}}
	groups, err := dbmodel.ProductGroups(ctx, s.db.Reader, v, 0, most)
	if err != nil {
		return nil, fmt.Errorf("list product groups: %w", err)
	}
	for i := range groups {
		value := fmt.Sprintf("group-%d", groups[i].ID)
		out = append(out, option{value, "Group " + groups[i].Name, chosen == value})
	}
	products, err := dbmodel.Products(ctx, s.db.Reader, v, 0, most)
	if err != nil {
		return nil, fmt.Errorf("list products: %w", err)
	}
	for i := range products {
		value := fmt.Sprintf("product-%d", products[i].ID)
		out = append(out, option{value, "Product " + products[i].Name, chosen == value})
	}
	return out, nil
}

func (s *server) showSubscriptions(w http.ResponseWriter, r *http.Request) error {
	p, err := s.loadSubscriptions(r)
	if err != nil {
		return err
	}
	return s.renderSubscriptions(w, r, p, 0)
}

func (s *server) renderSubscriptions(w http.ResponseWriter, r *http.Request, p *subscriptionList, status int) error {
	return s.render(w, r, view{
		status: status, template: "subscriptions", title: "My notifications", section: "subscriptions", data: p,
	})
}

// createSubscription stores what the form of five lines, or the button Notify me, says.
func (s *server) createSubscription(w http.ResponseWriter, r *http.Request) error {
	var sent subscriptionFields
	faults := input.ReadForm(r.PostForm, &sent)
	var kind string
	var id int64
	if where := r.PostForm.Get("where"); where != "" {
		kind, _, _ = strings.Cut(where, "-")
		if _, err := fmt.Sscanf(strings.TrimPrefix(where, kind+"-"), "%d", &id); err != nil {
			faults.AddOnce("where", "must be one of the choices")
		}
	}
	switch kind {
	case "product":
		sent.ProductID.Field = input.Field[int64]{Set: true, Value: id}
	case "group":
		sent.ProductGroupID.Field = input.Field[int64]{Set: true, Value: id}
	}
	subscribed := "the team is"
	if r.PostForm.Get("team") == "" {
		subscribed = "you are"
		sent.Username = input.Field[string]{Set: true, Value: viewerOf(r.Context()).Username}
	}
	contact := newContact(r.PostForm)
	if fault := contact.Fault(); fault != "" {
		faults.AddOnce("contacts[0].address", fault)
	}
	sent.Contacts = input.Field[input.ContactList]{Set: true, Value: input.ContactList{contact}}
	out, err := s.addSubscription(r.Context(), &sent, faults)
	if refused, is := faultsIn(err); is {
		p, err := s.loadSubscriptions(r)
		if err != nil {
			return err
		}
		p.Faulty, p.AddressFault = len(refused), refused["contacts[0].address"]
		for _, name := range []string{"product_id", "product_group_id"} {
			if fault := refused[name]; fault != "" {
				refused["where"] = fault
			}
		}
		typedAll(p.Add, r.PostForm, refused)
		return s.renderSubscriptions(w, r, p, http.StatusUnprocessableEntity)
	}
	if err != nil {
		return err
	}
	if secret := out.Body.Contacts[0].Secret; secret != "" { // shown once, so there is no other page to go to
		return s.renderSubscription(w, r, out.Body.ID, http.StatusOK, func(p *subscriptionPage) { p.Secret = secret })
	}
	s.notice(r.Context(), "Saved: "+subscribed+" subscribed. Below is what it takes; send a test to see that it arrives.")
	s.redirect(w, r, subscriptionPath(out.Body.ID))
	return nil
}

// newContact is the contact in a form.
func newContact(form url.Values) input.Contact {
	c := input.Contact{Channel: rule.Email, Address: strings.TrimSpace(form.Get("address"))}
	for _, known := range rule.Channels {
		if form.Get("channel") == string(known) {
			c.Channel = known
		}
	}
	return c
}
