package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// mostProductChoices is how many products, or product groups, the filter lists; with more products their names are
// typed.
const mostProductChoices = 100

// inboxFilter is what the form above the list holds.
type inboxFilter struct {
	Types, Events, Products []option
	Severities              []option
	Groups                  []option // of product groups; none: there are none
	ManyProducts            bool     // there are more than the form lists
	Product                 string
	Like                    []linkTo // where several products have a name with what was typed in it: each of them
	User, Q, Since, Until   string
	Digest                  int64 // the number of one whose notifications are shown; 0: none
	Unviewed                bool  // only what is not viewed
	Viewed                  bool  // only what is viewed
	More                    bool  // a filter is set that is not always shown
	Set                     bool  // anything is filtered but by viewed
}

// readInboxFilter reads the address of the page into the parameters of the list, and into what the form shows.
func (s *server) readInboxFilter(r *http.Request, in *notificationParams, f *inboxFilter) error {
	ctx := r.Context()
	kind, event := queryWord(r, "type", rule.Types), queryWord(r, "event", rule.Events)
	in.Type, in.Event = notificationType(kind), notificationEvent(event)
	in.User, in.Q, in.ProductID = queryText(r, "user"), queryText(r, "q"), queryID(r, "product_id")
	f.Types = append(f.Types, option{"", "All types", kind == ""})
	for _, k := range rule.Types {
		f.Types = append(f.Types, option{string(k), k.Info().Plural, k == kind})
	}
	f.Events = eventChoices("Any event", event)
	switch viewed := r.Form["viewed"]; { // the box of the form sends a second value
	case len(viewed) == 0, slices.Contains(viewed, "false"):
		f.Unviewed, in.Viewed = true, "false"
	case slices.Contains(viewed, "true"):
		f.Viewed, in.Viewed = true, "true"
	}
	for _, word := range rule.Severities {
		if slices.Contains(r.Form["severity"], string(word)) {
			in.Severity = append(in.Severity, severity(word))
		}
	}
	f.Severities = choices(rule.Severities, "", wordsOf[rule.Severity](in.Severity)...)
	in.GroupID = queryID(r, "product_group_id")
	if err := s.readGroupFilter(ctx, in, f); err != nil {
		return err
	}
	f.Digest = queryID(r, "digest")
	in.Digest = f.Digest
	f.User, f.Q, f.Since, f.Until = in.User, in.Q, queryText(r, "since"), queryText(r, "until")
	in.Since, in.Until = dayBegin(f.Since, 0), dayBegin(f.Until, 1)
	if err := s.readProductFilter(ctx, queryText(r, "product"), in, f); err != nil {
		return err
	}
	f.More = f.Digest != 0 || len(in.Severity) > 0 || in.GroupID != 0 || f.User != "" || f.Since != "" || f.Until != ""
	f.Set = f.More || kind != "" || event != "" || f.Q != "" || in.ProductID != 0
	return nil
}

// readGroupFilter fills the choice of groups.
func (s *server) readGroupFilter(ctx context.Context, in *notificationParams, f *inboxFilter) error {
	groups, err := dbmodel.SearchProductGroups(ctx, s.db.Reader, viewerOf(ctx), "", 0, mostProductChoices+1)
	if err != nil {
		return fmt.Errorf("list product groups: %w", err)
	}
	if len(groups) == 0 {
		return nil
	}
	f.Groups = []option{{"", "Any group", in.GroupID == 0}}
	listed := in.GroupID == 0
	for _, g := range groups[:min(len(groups), mostProductChoices)] {
		listed = listed || g.ID == in.GroupID
		f.Groups = append(f.Groups, option{strconv.FormatInt(g.ID, 10), shortened(g.Name), g.ID == in.GroupID})
	}
	if !listed { // its page links to it
		id := strconv.FormatInt(in.GroupID, 10)
		f.Groups = append(f.Groups, option{id, "group " + id, true})
	}
	return nil
}

// readProductFilter fills the choice of products. Where there are many, a name is typed: what it means is looked up
// here.
func (s *server) readProductFilter(ctx context.Context, typed string, in *notificationParams, f *inboxFilter) error {
	products, err := dbmodel.SearchProducts(ctx, s.db.Reader, viewerOf(ctx), dbmodel.ProductSearch{}, mostProductChoices+1)
	if err != nil {
		return fmt.Errorf("list products: %w", err)
	}
	f.ManyProducts = len(products) > mostProductChoices
	if !f.ManyProducts {
		f.Products = append(f.Products, option{"", "Any product", in.ProductID == 0})
		for _, p := range products {
			f.Products = append(f.Products, option{strconv.FormatInt(p.ID, 10), shortened(p.Name), p.ID == in.ProductID})
		}
		return nil
	}
	if typed == "" {
		if in.ProductID != 0 {
			names, err := dbmodel.NamesOf(ctx, s.db.Reader, viewerOf(ctx), rule.HolderProduct, []int64{in.ProductID})
			if err != nil {
				return fmt.Errorf("look a product up: %w", err)
			}
			f.Product = names[in.ProductID]
		}
		return nil
	}
	const most = 8
	like, err := dbmodel.SearchProducts(ctx, s.db.Reader, viewerOf(ctx), dbmodel.ProductSearch{Part: typed}, most)
	if err != nil {
		return fmt.Errorf("search products: %w", err)
	}
	f.Product = typed
	in.ProductID = noProduct
	for _, p := range like {
		if len(like) == 1 || p.Name == typed {
			in.ProductID = p.ID
		} else {
			f.Like = append(f.Like, linkTo{withQuery("/", "product_id", strconv.FormatInt(p.ID, 10)), p.Name})
		}
	}
	return nil
}

// noProduct is the id of a product that does not exist.
const noProduct = 1<<53 - 1

// dayBegin makes an RFC 3339 time of a date, days later; what is no date stays as it is.
func dayBegin(text string, days int) string {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return text
	}
	return t.AddDate(0, 0, days).Format(time.RFC3339)
}

// words says what is filtered, a filter each; none: nothing.
func (f *inboxFilter) words() []string {
	var out []string
	add := func(name string, list []option) {
		var chosen []string
		for _, o := range list {
			if o.Chosen && o.Value != "" {
				chosen = append(chosen, o.Label)
			}
		}
		if chosen != nil {
			out = append(out, name+" "+strings.Join(chosen, ", "))
		}
	}
	add("type", f.Types)
	add("event", f.Events)
	add("severity", f.Severities)
	add("group", f.Groups)
	add("product", f.Products)
	for _, p := range []struct{ name, text string }{
		{"product", f.Product}, {"name with", f.Q}, {"user", f.User}, {"from", f.Since}, {"until", f.Until},
	} {
		if p.text != "" {
			out = append(out, p.name+" "+p.text)
		}
	}
	if f.Digest != 0 {
		out = append(out, "digest "+strconv.FormatInt(f.Digest, 10))
	}
	switch {
	case f.Unviewed:
		out = append(out, "not viewed by you")
	case f.Viewed:
		out = append(out, "viewed by you")
	}
	return out
}
