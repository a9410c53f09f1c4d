package web

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

const (
	productsPath      = "/products"
	productGroupsPath = "/product-groups"
	rowsOfPage        = 50
	// noContact asks for products without a contact or a subscription.
	noContact = "none"
	// bySubscription stands for the contacts of what has none and is subscribed to.
	bySubscription = "subscriptions only"
)

func productPath(id int64) string { return fmt.Sprintf("%s/%d", productsPath, id) }

func groupPath(id int64) string { return fmt.Sprintf("%s/%d", productGroupsPath, id) }

// productRow is a product, or a group, in a list.
type productRow struct {
	Path, Name string
	Group      *linkTo
	Gate       *bool  // nil: none
	Contacts   string // empty: none
	What       string // is notified; empty: nothing
	Paused     bool
	NameOnly   bool
}

// linkTo is a text that leads somewhere.
type linkTo struct{ Path, Text string }

// productList is what the pages of products and of product groups show.
type productList struct {
	Groups    bool
	Q         string
	NoContact bool // only those without a contact or a subscription
	Rows      []productRow
	Older     string // the next page; empty: there is none
	First     string // the first page, from another one
	Admin     bool
}

func (s *server) showProducts(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	v, contacts := viewerOf(ctx), queryWord(r, "contacts", []string{noContact})
	search := dbmodel.ProductSearch{
		Part: queryText(r, "q"), After: queryID(r, "after"), WithoutRecipients: contacts == noContact,
	}
	found, err := dbmodel.SearchProducts(ctx, s.db.Reader, v, search, rowsOfPage+1)
	if err != nil {
		return fmt.Errorf("search products: %w", err)
	}
	out := productList{Q: search.Part, NoContact: search.WithoutRecipients, Admin: v.Admin}
	query := []string{"q", search.Part, "contacts", contacts}
	if search.After != 0 {
		out.First = withQuery(productsPath, query...)
	}
	if len(found) > rowsOfPage {
		found = found[:rowsOfPage]
		out.Older = withQuery(productsPath, append(query, "after", strconv.FormatInt(found[rowsOfPage-1].ID, 10))...)
	}
	if out.Rows, err = s.productRows(ctx, found); err != nil {
		return err
	}
	return s.render(w, r, view{template: "products", title: "Products", section: "products", data: out})
}

// productRows shows the conditions and the contacts of products.
func (s *server) productRows(ctx context.Context, products []dbmodel.Product) ([]productRow, error) {
	ids, groups := make([]int64, len(products)), []int64{}
	for i := range products {
		ids[i] = products[i].ID
		if g := products[i].ProductGroupID; g != nil {
			groups = append(groups, *g)
		}
	}
	contexts, err := dbmodel.ProductContexts(ctx, s.db.Reader, ids)
	if err != nil {
		return nil, fmt.Errorf("load products: %w", err)
	}
	names, err := dbmodel.NamesOf(ctx, s.db.Reader, viewerOf(ctx), rule.HolderGroup, groups)
	if err != nil {
		return nil, fmt.Errorf("load the names of product groups: %w", err)
	}
	subscribed, err := dbmodel.SubscribedProducts(ctx, s.db.Reader, viewerOf(ctx), ids)
	if err != nil {
		return nil, fmt.Errorf("find subscribed products: %w", err)
	}
	out := make([]productRow, 0, len(products))
	for i := range products {
		p := &products[i]
		c := contexts[p.ID]
		if c == nil { // deleted in this moment
			continue
		}
		a := rule.Effective(c.Product, c.Group)
		row := productRow{
			Path: productPath(p.ID), Name: p.Name, Gate: p.SecurityGatePassed,
			Contacts: contactWords(a.Contacts), What: conditionWords(a.Conditions), Paused: a.Paused,
		}
		if row.Contacts == "" && subscribed[p.ID] {
			row.Contacts = bySubscription
		}
		if g := p.ProductGroupID; g != nil {
			row.Group = &linkTo{groupPath(*g), names[*g]}
		}
		out = append(out, row)
	}
	return out, nil
}

func (s *server) showProductGroups(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	v, q, after := viewerOf(ctx), queryText(r, "q"), queryID(r, "after")
	found, err := dbmodel.SearchProductGroups(ctx, s.db.Reader, v, q, after, rowsOfPage+1)
	if err != nil {
		return fmt.Errorf("search product groups: %w", err)
	}
	out := productList{Groups: true, Q: q, Admin: v.Admin}
	if after != 0 {
		out.First = withQuery(productGroupsPath, "q", q)
	}
	if len(found) > rowsOfPage {
		found = found[:rowsOfPage]
		out.Older = withQuery(productGroupsPath, "q", q, "after", strconv.FormatInt(found[rowsOfPage-1].ID, 10))
	}
	now, err := dbmodel.DatabaseNow(ctx, s.db.Reader)
	if err != nil {
		return fmt.Errorf("ask the database for the time: %w", err)
	}
	if out.Rows, err = s.groupRows(ctx, found, now); err != nil {
		return err
	}
	return s.render(w, r, view{template: "products", title: "Product groups", section: "products", data: out})
}

// groupRows shows the conditions and the contacts of product groups.
func (s *server) groupRows(ctx context.Context, groups []dbmodel.ProductGroup, now time.Time) ([]productRow, error) {
	var holders []rule.Holder
	var ids []int64
	for i := range groups {
		if !groups[i].NameOnly {
			holders, ids = append(holders, groupHolder(groups[i].ID)), append(ids, groups[i].ID)
		}
	}
	contacts, err := dbmodel.ContactsOf(ctx, s.db.Reader, holders...)
	if err != nil {
		return nil, fmt.Errorf("load the contacts of product groups: %w", err)
	}
	subscribed, err := dbmodel.SubscribedGroups(ctx, s.db.Reader, viewerOf(ctx), ids)
	if err != nil {
		return nil, fmt.Errorf("find subscribed product groups: %w", err)
	}
	var out []productRow
	for i := range groups {
		g := &groups[i]
		own := g.Rule(contacts[groupHolder(g.ID)], now)
		row := productRow{
			Path: groupPath(g.ID), Name: g.Name, NameOnly: g.NameOnly,
			Contacts: contactWords(own.Contacts), What: conditionWords(own.Conditions), Paused: own.Paused,
		}
		if row.Contacts == "" && subscribed[g.ID] {
			row.Contacts = bySubscription
		}
		out = append(out, row)
	}
	return out, nil
}

// gateWord is the state of a security gate: passed, failed or none.
func gateWord(passed *bool) string {
	switch {
	case passed == nil:
		return "none"
	case *passed:
		return "passed"
	}
	return "failed"
}
