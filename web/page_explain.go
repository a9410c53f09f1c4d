package web

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
)

const observationsPath = "/observations"

// observationList is what the search for an observation shows.
type observationList struct {
	Q       string
	Product *linkTo // whose observations alone are searched; nil: all
	ID      int64   // of the product
	// Severities, Statuses and Notified are the choices of the filters.
	Severities, Statuses, Notified []option
	Filtered                       bool // one of them is set
	Rows                           []observationRow
	Older                          string
}

type observationRow struct {
	ID       int64
	Path     string
	Title    string
	Severity rule.Severity
	Status   rule.Status
	Priority *int
	Product  string
	Notified bool
}

// explainPage says why an observation is, or is not, notified.
type explainPage struct {
	ID          int64
	Title       string
	Product     linkTo
	ProductID   int64
	MayEvaluate bool
	Whole       explained
	Titles      *explained // nil: not for the caller
	Inbox       string     // its notifications
}

// explained is one explanation in words.
type explained struct {
	ID          string // of its part of the page
	Heading     string
	What        string
	Conditions  []conditionRow
	Remembered  string
	Decision    string
	Notified    bool // at the next evaluation
	Recipients  []recipientRow
	SetContacts *linkTo // where contacts are set, when there are none
}

type conditionRow struct {
	Name, Value, Limit string
	Met                bool
	Source             string
	Path               string
}

type recipientRow struct {
	Channel, Target string
	From            linkTo
	Recipient       bool
	Reason          string // why it is none
	Failure         string // of its last deliveries
}

func (s *server) showObservations(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	v := viewerOf(ctx)
	out := observationList{Q: queryText(r, "q"), ID: queryID(r, "product_id")}
	if out.ID != 0 {
		p, err := dbmodel.VisibleProductByID(ctx, s.db.Reader, v, out.ID)
		if err != nil {
			return missing(err, "product", out.ID)
		}
		out.Product = &linkTo{productPath(p.ID), p.Name}
	}
	wanted := out.readFilter(r)
	var found []dbmodel.StoredObservation
	err := s.list(ctx, wanted.Unindexed(), func(ctx context.Context) (err error) {
		found, err = dbmodel.SearchObservations(ctx, s.db.Reader, v, wanted, rowsOfPage+1)
		return err
	})
	if err != nil {
		return fmt.Errorf("search observations: %w", err)
	}
	if len(found) > rowsOfPage {
		found = found[:rowsOfPage]
		out.Older = withParam(r.URL, "after", strconv.FormatInt(found[rowsOfPage-1].ID, 10))
	}
	products := make([]int64, len(found))
	for i := range found {
		products[i] = found[i].ProductID
	}
	names, err := dbmodel.NamesOf(ctx, s.db.Reader, v, rule.HolderProduct, products)
	if err != nil {
		return fmt.Errorf("load the names of products: %w", err)
	}
	for i := range found {
		o := &found[i]
		out.Rows = append(out.Rows, observationRow{
			ID: o.ID, Path: explainPath(o.ID), Title: shortened(o.Title), Severity: o.Severity, Status: o.Status,
			Priority: o.Priority,
			Product:  names[o.ProductID], Notified: o.Remembered != nil,
		})
	}
	return s.render(w, r, view{template: "observations", title: "Observations", section: "products", data: out})
}

// readFilter reads which observations are wanted, and fills the choices of the form.
func (l *observationList) readFilter(r *http.Request) dbmodel.ObservationSearch {
	severity, status := queryWord(r, "severity", rule.Severities), queryWord(r, "status", rule.Statuses)
	notified := queryWord(r, "notified", []string{"true", "false"})
	l.Severities, l.Statuses = choices(rule.Severities, "Any severity", severity),
		choices(rule.Statuses, "Any status", status)
	l.Notified = []option{
		{"", "Notified or not", notified == ""},
		{"true", "Notified", notified == "true"},
		{"false", "Not notified", notified == "false"},
	}
	l.Filtered = severity != "" || status != "" || notified != ""
	wanted := dbmodel.ObservationSearch{Part: l.Q, ProductID: l.ID, After: queryID(r, "after")}
	if id, err := strconv.ParseInt(l.Q, 10, 64); err == nil && id > 0 && id <= accept.MaxID {
		wanted.ID = id
	}
	if severity != "" {
		wanted.Severities = []rule.Severity{severity}
	}
	if status != "" {
		wanted.Statuses = []rule.Status{status}
	}
	if notified != "" {
		wanted.Notified = new(notified == "true")
	}
	return wanted
}

// explainPath is the page that explains an observation.
func explainPath(id int64) string { return fmt.Sprintf("%s/%d/explain", observationsPath, id) }

// redirectToExplain leads to all that Tocsin has to say of an observation.
func (s *server) redirectToExplain(w http.ResponseWriter, r *http.Request) error {
	id, err := idInPath(r, "observation")
	if err != nil {
		return err
	}
	s.redirect(w, r, explainPath(id))
	return nil
}

func (s *server) showExplain(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	id, err := idInPath(r, "observation")
	if err != nil {
		return err
	}
	x, err := s.apiExplain(ctx, &IDParam{id})
	if err != nil {
		return err
	}
	a := x.Body
	product, err := dbmodel.VisibleProductByID(ctx, s.db.Reader, viewerOf(ctx), a.Product.ID)
	if err != nil {
		return missing(err, "observation", id)
	}
	role, err := dbmodel.RoleIn(ctx, s.db.Reader, viewerOf(ctx), a.Product.ID)
	if err != nil {
		return missing(err, "observation", id)
	}
	at := sources{product: linkTo{productPath(product.ID), product.Name}}
	if g := product.ProductGroupID; g != nil {
		at.group.Path = groupPath(*g)
		names, err := dbmodel.NamesOf(ctx, s.db.Reader, viewerOf(ctx), rule.HolderGroup, []int64{*g})
		if err != nil {
			return fmt.Errorf("load the name of product group %d: %w", *g, err)
		}
		at.group.Text = names[*g]
	}
	out := explainPage{
		ID: id, Title: a.Observation.Title, Product: at.product, ProductID: product.ID,
		MayEvaluate: role.Covers(rule.Maintainer),
		Whole:       at.explained(a.ExplainedAnswer, false),
		// proxies take short addresses only
		Inbox: withQuery("/", "q", firstRunes(a.Observation.Title, 200), "viewed", "all"),
	}
	if a.Title != nil {
		title := at.explained(*a.Title, true)
		out.Titles = &title
	}
	return s.render(w, r, view{
		template: "explain", title: "Why? " + shortened(a.Observation.Title), section: "products", data: out,
	})
}

func (s *server) evaluateAgain(w http.ResponseWriter, r *http.Request) error {
	id, err := idInPath(r, "observation")
	if err != nil {
		return err
	}
	if _, err := s.apiEvaluateObservation(r.Context(), &IDParam{id}); err != nil {
		return err
	}
	s.notice(r.Context(), "It is being evaluated again. Load this page anew in a moment: "+
		"what was notified stands under “Last notified”.")
	s.redirect(w, r, explainPath(id))
	return nil
}

// sources are the places that settings of an observation come from.
type sources struct{ product, group linkTo }

// words says where something comes from, and the page where it is set; anchor is the field there.
func (at sources) words(from rule.SettingSource, anchor string) (words, path string) {
	switch from {
	case rule.FromProduct:
		return "product " + at.product.Text, at.product.Path + "#" + anchor
	case rule.FromGroup:
		return "group " + at.group.Text, at.group.Path + "#" + anchor
	case rule.FromSettings:
		return "settings", settingsPath + "#" + anchor
	case rule.FromSubscription, rule.FromNowhere:
	}
	return "", ""
}

func (at sources) explained(a ExplainedAnswer, title bool) explained {
	prefix, set := "observation_notification_", linkTo{at.product.Path, "for product " + at.product.Text}
	out := explained{
		ID: "observation", Heading: "This observation", Decision: a.Decision, Notified: a.Event != nil,
		Remembered: "nothing yet",
		What:       "By the settings of product " + at.product.Text + orGroup(at.group.Text) + ".",
	}
	if title {
		prefix, set = "observation_title_notification_", linkTo{settingsPath, "in the settings"}
		out.ID, out.Heading, out.What = "title", "Its title, in all products",
			"By the settings for observation titles, which hold for all products."
	}
	if v := a.Remembered; v != nil {
		out.Remembered = valuesInWords(&rule.Values{
			Severity: rule.Severity(v.Severity), Status: rule.Status(v.Status), Priority: v.Priority,
			KnownExploited: v.KnownExploited,
		})
	}
	if !a.IsSet {
		out.Conditions = append(out.Conditions, conditionRow{
			Name: "Conditions", Value: "none is set", Limit: "at least one", Source: "Set one " + set.Text,
			Path: set.Path + "#" + prefix + "min_severity",
		})
	}
	for _, c := range a.Conditions {
		row := conditionRow{Met: c.Met, Value: valueWords(c)}
		row.Name, row.Limit = limitWords(c)
		row.Source, row.Path = at.words(c.Source, prefix+c.Name)
		out.Conditions = append(out.Conditions, row)
	}
	for _, r := range a.Recipients {
		out.Recipients = append(out.Recipients, recipientRow{
			Channel: channelName(r.Channel), Target: r.Target, From: r.from, Recipient: r.Recipient,
			Reason: r.Reason, Failure: r.failure,
		})
	}
	if len(out.Recipients) == 0 {
		anchor := "notification_email_to"
		if title {
			anchor = "observation_title_" + anchor
		}
		out.SetContacts = &linkTo{set.Path + "#" + anchor, set.Text}
	}
	return out
}

func orGroup(name string) string {
	if name == "" {
		return ""
	}
	return " and, where it says nothing, of group " + name
}

// valueWords is what an observation has, in words.
func valueWords(c rule.Condition) string {
	v := c.Value
	if c.Name == "known_exploited" {
		known, _ := v.(bool)
		return exploitedWord(v != nil, known)
	}
	if text := fmt.Sprint(v); v != nil && text != "" {
		return text
	}
	return "none"
}

// limitWords names a condition and says what it asks for.
func limitWords(c rule.Condition) (name, limit string) {
	switch c.Name {
	case "min_severity":
		name, limit = "Severity", severityWords(rule.Conditions{MinSeverity: wordOf[rule.Severity](c.Limit)})
	case "statuses":
		statuses, _ := c.Limit.([]rule.Status)
		return "Status", statusWords(rule.Conditions{Statuses: statuses})
	case "min_priority":
		if n, is := c.Limit.(int); is {
			limit = priorityWords(rule.Conditions{MinPriority: &n})
		}
		name = "Priority"
	case "known_exploited":
		return "Known exploited", "yes, whatever the severity and priority"
	default:
		name, limit = "Parser type", string(wordOf[rule.ParserType](c.Limit))
	}
	if limit == "" {
		limit = "any"
	}
	return name, limit
}

func wordOf[T ~string](v any) T {
	w, _ := v.(T)
	return w
}
