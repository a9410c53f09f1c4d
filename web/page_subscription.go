package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// subscriptionPage is the page of one subscription.
type subscriptionPage struct {
	subscriptionAnswer
	Path    string
	Mine    bool
	NoEmail bool // its user has no address
	// UserPage is where an administrator enters that address.
	UserPage string
	Back     linkTo
	What     string
	Next     string // when the next digest comes; empty: none does
	MayEdit  bool
	Fields   []formField
	Faulty   int
	Preview  string // of the form as it is filled in; empty: nobody asked
	Rows     []contactOf
	Secret   string // a new one, shown once
	Tests    []testResult

	Channels     []option
	AddressFault string
}

// contactOf is a contact of the subscription.
type contactOf struct {
	ContactAnswer
	Name   string // of the channel
	Signed bool
}

// loadSubscription reads the page of a subscription; 404 where the caller sees none.
func (s *server) loadSubscription(r *http.Request, id int64) (*subscriptionPage, error) {
	ctx := r.Context()
	v := viewerOf(ctx)
	sub, err := dbmodel.VisibleSubscriptionByID(ctx, s.db.Reader, v, id)
	if err != nil {
		return nil, missing(err, "subscription", id)
	}
	out, err := s.subscriptionOutput(ctx, s.db.Reader, sub, nil)
	if err != nil {
		return nil, err
	}
	p := &subscriptionPage{
		subscriptionAnswer: out.Body, Path: subscriptionPath(id), Mine: sub.UserID != nil && *sub.UserID == v.UserID,
		What: filterWords(sub.Filter()) + " " + whereWords(sub), MayEdit: mayChange(ctx, s.db.Reader, sub) == nil,
	}
	if p.Username != "" {
		u, err := dbmodel.UserByName(ctx, s.db.Reader, p.Username)
		if err != nil {
			return nil, fmt.Errorf("load the user of a subscription: %w", err)
		}
		p.NoEmail = u.Email == ""
		if v.Admin {
			p.UserPage = userPath(p.Username)
		}
	}
	if zone, err := time.LoadLocation(sub.Timezone); err == nil && sub.NextSlotAt != nil && !sub.Ends() {
		p.Next = sub.NextSlotAt.In(zone).Format("2006-01-02 15:04") + " " + zone.String()
	}
	switch {
	case p.Mine:
		p.Back = linkTo{subscriptionsPath, "My notifications"}
	case sub.ProductID != nil:
		p.Back = linkTo{productPath(*sub.ProductID) + "#contacts", "Product " + sub.ProductName}
	case sub.ProductGroupID != nil:
		p.Back = linkTo{groupPath(*sub.ProductGroupID) + "#contacts", "Group " + sub.ProductGroupName}
	default:
		p.Back = linkTo{settingsPath, "Settings"}
	}
	for _, c := range out.Body.Contacts {
		p.Rows = append(p.Rows, contactOf{c, channelName(c.Channel), c.Channel.Info().Signed})
	}
	for _, c := range rule.Channels {
		p.Channels = append(p.Channels, option{Value: string(c), Label: channelName(c)})
	}
	p.Fields = p.fields()
	for i := range p.Fields {
		p.Fields[i].ReadOnly = !p.MayEdit
	}
	return p, nil
}

// fields are the form of a subscription, all but its contacts.
func (a *subscriptionAnswer) fields() []formField {
	return []formField{
		{Name: "name", Label: "Name", Kind: textField, Value: a.Name, Help: "Mails and lists name it."},
		{
			Name: "enabled", Label: "Enabled", Kind: checkField, Value: strconv.FormatBool(a.Enabled),
			Help: "Without it nothing is sent because of this subscription.",
		},
		{
			Name: "min_severity", Label: "Minimum severity", Kind: choiceField,
			Options: choices(rule.Severities, "Any", a.MinSeverity),
			Help:    "Of now or before the change: what was Critical and is Low now passes Critical.",
		},
		{
			Name: "types", Label: "Types", Kind: choicesField, Options: typeChoices(rule.Types, a.Types),
			Help: "None ticked: all that you may see.",
		},
		{
			Name: "events", Label: "Events", Kind: choicesField, Options: eventChoices("", a.Events...),
			Help: "None ticked: all. Those of security gates are passed, failed and no result; exceptions and background " +
				"tasks have none and always pass.",
		},
		{
			Name: "statuses", Label: "Statuses", Kind: choicesField, Options: choices(rule.Statuses, "", a.Statuses...),
			Help: "None ticked: all. Of now or before the change.",
		},
		{
			Name: "parser_types", Label: "Parser types", Kind: choicesField,
			Options: choices(rule.ParserTypes, "", a.ParserTypes...), Help: "None ticked: all.",
		},
		{
			Name: "min_priority", Label: "Minimum priority", Kind: numberField, Min: rule.MinPriority, Max: rule.MaxPriority,
			Value: numeral(a.MinPriority), Help: "1 is the most urgent. Empty: any, and none.",
		},
		{
			Name: "known_exploited", Label: "Known exploited only", Kind: checkField,
			Value: strconv.FormatBool(a.KnownExploited), Help: "Those of which it is known that they are exploited.",
		},
		{
			Name: "schedule", Label: "Schedule", Kind: textField, Value: a.Schedule,
			Help: "A cron line like 0 8 * * 1-5 (minute, hour, day, month, weekday): one digest each time. Empty: at once.",
		},
		{
			Name: "timezone", Label: "Time zone", Kind: textField, Value: a.Timezone, Default: "UTC",
			Help: "Like Europe/Berlin: the clock of the schedule.",
		},
		{
			Name: "immediate_min_severity", Label: "At once in spite of the schedule", Kind: choiceField,
			Options: choices(rule.Severities, "Nothing", a.ImmediateMinSeverity),
			Help:    "Of this severity or worse, and failed gates.",
		},
	}
}

func (s *server) showSubscriptionPage(w http.ResponseWriter, r *http.Request) error {
	id, err := idInPath(r, "subscription")
	if err != nil {
		return err
	}
	return s.renderSubscription(w, r, id, 0, nil)
}

// renderSubscription shows the page of a subscription, changed before.
func (s *server) renderSubscription(
	w http.ResponseWriter, r *http.Request, id int64, status int, change func(*subscriptionPage),
) error {
	p, err := s.loadSubscription(r, id)
	if err != nil {
		return err
	}
	if change != nil {
		change(p)
	}
	return s.render(w, r, view{status: status, template: "subscription", title: p.Name, section: "subscriptions", data: p})
}

// saveSubscription stores the form. A form that is refused is shown again as it was filled in.
func (s *server) saveSubscription(w http.ResponseWriter, r *http.Request) error {
	id, err := idInPath(r, "subscription")
	if err != nil {
		return err
	}
	var sent subscriptionFields
	faults := input.ReadForm(r.PostForm, &sent)
	var shown string
	if r.PostForm.Has("preview") {
		shown, err = s.previewStored(r.Context(), id, &sent, faults)
	} else {
		_, err = s.patchSubscription(r.Context(), id, &sent, faults)
	}
	if refused, is := faultsIn(err); is {
		return s.renderSubscription(w, r, id, http.StatusUnprocessableEntity, func(p *subscriptionPage) {
			p.Faulty = len(refused)
			typedAll(p.Fields, r.PostForm, refused)
		})
	}
	if err != nil {
		return err
	}
	if shown != "" {
		return s.renderSubscription(w, r, id, http.StatusOK, func(p *subscriptionPage) {
			p.Preview = shown
			typedAll(p.Fields, r.PostForm, nil)
		})
	}
	s.notice(r.Context(), "Saved.")
	s.redirect(w, r, subscriptionPath(id))
	return nil
}

// previewStored says what a stored subscription, changed as was sent, would have taken.
func (s *server) previewStored(
	ctx context.Context, id int64, sent *subscriptionFields, faults input.Faults,
) (words string, err error) {
	err = s.inPreview(ctx, previewDays, func(ctx context.Context, tx bun.Tx, p *preview, _ time.Time) error {
		stored, err := dbmodel.VisibleSubscriptionByID(ctx, tx, viewerOf(ctx), id)
		if err != nil {
			return missing(err, "subscription", id)
		}
		if err := mayChange(ctx, tx, stored); err != nil {
			return err
		}
		m, err := s.mergeDraft(ctx, tx, stored, sent, faults)
		if err != nil {
			return err
		}
		sub, sight, err := s.ruleOfDraft(ctx, tx, m)
		if err != nil {
			return err
		}
		scope := dbmodel.RecentScope{}
		if p := stored.ProductID; p != nil {
			scope.ProductID = *p
		}
		if g := stored.ProductGroupID; g != nil {
			scope.GroupID = *g
		}
		err = p.fillSubscription(ctx, tx, sight, scope, sub)
		words = p.words()
		return err
	})
	return words, err
}

// saveContacts adds a contact to a subscription, or removes one.
func (s *server) saveContacts(w http.ResponseWriter, r *http.Request) error {
	id, err := idInPath(r, "subscription")
	if err != nil {
		return err
	}
	p, err := s.loadSubscription(r, id)
	if err != nil {
		return err
	}
	var list input.ContactList
	remove := queryID(r, "remove")
	for _, c := range p.Contacts {
		if c.ID != remove {
			list = append(list, input.Contact{ID: c.ID, Channel: c.Channel})
		}
	}
	var faults input.Faults
	if remove == 0 {
		c := newContact(r.PostForm)
		if fault := c.Fault(); fault != "" {
			faults.Add("address", fault)
		}
		list = append(list, c)
	}
	sent := subscriptionFields{Contacts: input.Field[input.ContactList]{Set: true, Empty: len(list) == 0, Value: list}}
	if len(list) > input.MaxContacts {
		faults.Add("address", fmt.Sprintf("cannot be added: a subscription has %d contacts at most", input.MaxContacts))
	}
	out, err := s.patchSubscription(r.Context(), id, &sent, faults)
	if refused, is := faultsIn(err); is {
		return s.renderSubscription(w, r, id, http.StatusUnprocessableEntity, func(p *subscriptionPage) {
			for _, fault := range refused {
				p.AddressFault = fault
			}
		})
	}
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(out.Body.Contacts, func(c ContactAnswer) bool { return c.Secret != "" }); i >= 0 {
		return s.renderSubscription(w, r, id, http.StatusOK, func(p *subscriptionPage) {
			p.Secret = out.Body.Contacts[i].Secret
		})
	}
	s.notice(r.Context(), "Saved.")
	s.redirect(w, r, subscriptionPath(id))
	return nil
}

func (s *server) rotateOnPage(w http.ResponseWriter, r *http.Request) error {
	id, err := idInPath(r, "subscription")
	if err != nil {
		return err
	}
	secret, err := s.rotateSecret(r.Context(), id, queryID(r, "contact"))
	if err != nil {
		return err
	}
	return s.renderSubscription(w, r, id, http.StatusOK, func(p *subscriptionPage) { p.Secret = secret })
}

func (s *server) sendSubscriptionTest(w http.ResponseWriter, r *http.Request) error {
	id, err := idInPath(r, "subscription")
	if err != nil {
		return err
	}
	out, err := s.testSubscription(r.Context(), id, "")
	if err != nil {
		return err
	}
	return s.renderSubscription(w, r, id, http.StatusOK, func(p *subscriptionPage) { p.Tests = out.Body.Results })
}

func (s *server) removeSubscription(w http.ResponseWriter, r *http.Request) error {
	id, err := idInPath(r, "subscription")
	if err != nil {
		return err
	}
	p, err := s.loadSubscription(r, id)
	if err != nil {
		return err
	}
	if _, err := s.apiDeleteSubscription(r.Context(), &IDParam{id}); err != nil {
		return err
	}
	s.notice(r.Context(), "Deleted: nothing more comes from "+p.Name+".")
	s.redirect(w, r, p.Back.Path)
	return nil
}
