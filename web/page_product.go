package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// holderKind is what has notification settings: products, or product groups.
type holderKind struct {
	group bool
	root  string // the path of their list
}

func (k holderKind) noun() string { return k.members().name }

func (k holderKind) members() memberSource {
	if k.group {
		return groupMembers
	}
	return productMembers
}

func (k holderKind) path(id int64) string { return fmt.Sprintf("%s/%d", k.root, id) }

// holderPage is the page of a product, or of a product group.
type holderPage struct {
	IsGroup  bool
	ID       int64
	Path     string
	Name     string
	Group    *linkTo
	Gate     *bool
	Taken    string // where it is changed in SecObserve; empty: here
	NameOnly bool   // of a group: nothing but its name is seen
	Paused   string // until when, and where that is set; empty: not paused

	MayEdit  bool
	Evaluate string // the words on the button that evaluates all observations again
	Faulty   int    // fields that were refused
	Preview  string // of the form as it is filled in; empty: nobody asked
	Fields   []formField
	Contacts []contactRow
	Others   []int64      // personal subscriptions of other users
	Where    string       // what the button Notify me names
	Notify   linkTo       // the subscription of the caller to this; without a path: there is none
	Products []productRow // of a group

	Members     []memberAnswer
	MoreMembers string
	MayManage   bool
	Sight       string // which types of notifications members see
	Member      memberForm
	Roles       []option

	Channels []option     // that a test can be sent to
	Tests    []testResult // of the test that was sent just now

	settings settingFields
	counted  []int64 // the products that the settings apply to
}

// memberForm is the form that makes somebody a member.
type memberForm struct {
	Username, Role string
	Faults         formFaults
}

const maxMembers = 100

// loadHolder reads the page of a product or group as the caller sees it: 404 where they do not.
func (s *server) loadHolder(r *http.Request, k holderKind) (*holderPage, error) {
	id, err := idInPath(r, k.noun())
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	v := viewerOf(ctx)
	role, err := k.members().role(ctx, s.db.Reader, v, id)
	if err != nil {
		return nil, missing(err, k.noun(), id)
	}
	now, err := dbmodel.DatabaseNow(ctx, s.db.Reader)
	if err != nil {
		return nil, fmt.Errorf("ask the database for the time: %w", err)
	}
	p := &holderPage{
		IsGroup: k.group, ID: id, Path: k.path(id), MayEdit: role.Covers(rule.Maintainer),
		MayManage: role.Covers(rule.Owner), Roles: choices(rule.Roles, ""),
		Member: memberForm{Role: string(rule.Reader)}, Evaluate: evaluateWords(int(queryID(r, "unnotified"))),
	}
	if k.group {
		err = s.loadGroupPage(ctx, p, now)
	} else {
		err = s.loadProductPage(ctx, p, now)
	}
	if err != nil || p.NameOnly {
		return p, err
	}
	if p.Sight, err = s.memberSight(ctx); err != nil {
		return nil, err
	}
	p.Fields = p.settings.fields()
	if !p.MayEdit {
		p.Fields = slices.DeleteFunc(p.Fields, func(f formField) bool { return f.Name == pauseZone })
	}
	for i := range p.Fields {
		p.Fields[i].ReadOnly = !p.MayEdit
	}
	if err := s.loadTaken(ctx, p); err != nil {
		return nil, err
	}
	if p.settings.applied.Paused {
		pause := p.settings.pause().Applies
		p.Paused = pause.Words + ", " + pause.From.Text
	}
	in := &membersParams{
		IDParam: IDParam{id}, ListParams: ListParams{Limit: maxMembers, Cursor: r.URL.Query().Get("members")},
	}
	members, err := s.listMembers(ctx, k.members(), in)
	if err != nil {
		return nil, err
	}
	p.Members = members.Body.Items
	if next := members.Body.NextCursor; next != nil {
		p.MoreMembers = withQuery(p.Path, "members", *next)
	}
	return p, s.loadContacts(ctx, p)
}

func (s *server) loadProductPage(ctx context.Context, p *holderPage, now time.Time) error {
	product, err := dbmodel.VisibleProductByID(ctx, s.db.Reader, viewerOf(ctx), p.ID)
	if err != nil {
		return missing(err, "product", p.ID)
	}
	p.Name, p.Gate, p.counted = product.Name, product.SecurityGatePassed, []int64{p.ID}
	var group *dbmodel.ProductGroup
	if id := product.ProductGroupID; id != nil {
		// What applies to a product is seen with the product.
		if group, err = dbmodel.ProductGroupByID(ctx, s.db.Reader, *id); err != nil {
			return fmt.Errorf("load product group %d: %w", *id, err)
		}
		p.Group = &linkTo{groupPath(group.ID), group.Name}
	}
	p.settings, err = s.loadSettingFields(ctx, productHolder(p.ID), &product.NotificationSettings, group, now)
	return err
}

func (s *server) loadGroupPage(ctx context.Context, p *holderPage, now time.Time) error {
	v := viewerOf(ctx)
	g, err := dbmodel.VisibleProductGroupByID(ctx, s.db.Reader, v, p.ID)
	if err != nil {
		return missing(err, "product group", p.ID)
	}
	products, err := dbmodel.ProductsOfGroup(ctx, s.db.Reader, v, p.ID, maxGroupProducts)
	if err != nil {
		return fmt.Errorf("list the products of group %d: %w", p.ID, err)
	}
	for i := range products {
		p.counted = append(p.counted, products[i].ID)
	}
	if p.Products, err = s.productRows(ctx, products); err != nil {
		return err
	}
	if p.Name, p.NameOnly = g.Name, g.NameOnly; p.NameOnly {
		return nil
	}
	p.settings, err = s.loadSettingFields(ctx, groupHolder(p.ID), &g.NotificationSettings, nil, now)
	return err
}

// loadSettingFields returns the settings of a product or a group for its form; group is that of a product, nil where
// there is none.
func (s *server) loadSettingFields(
	ctx context.Context, holder rule.Holder, own *dbmodel.NotificationSettings, group *dbmodel.ProductGroup, now time.Time,
) (f settingFields, err error) {
	holders := []rule.Holder{holder}
	if group != nil {
		holders = append(holders, groupHolder(group.ID))
	}
	shown, err := s.contactsOf(ctx, s.db.Reader, holders...)
	if err != nil {
		return f, err
	}
	f = settingFields{now: now, own: own, holder: holder, contacts: shown.contacts[holder], names: shown.names}
	settings := own.Rule(f.contacts, now)
	var inherited *rule.Settings
	if group != nil {
		f.group, f.groupIs = &group.NotificationSettings, linkTo{groupPath(group.ID), "group " + group.Name}
		inherited = new(group.Rule(shown.contacts[holders[1]], now))
		f.groupPaused = inherited.Paused
	}
	f.applied, f.ownPaused = rule.Effective(settings, inherited), settings.Paused
	f.inherited = rule.Effective(rule.Settings{}, inherited)
	return f, nil
}

// maxGroupProducts is how many products the page of a group lists.
const maxGroupProducts = 1000

func (s *server) showHolder(k holderKind) pageHandler {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := s.loadHolder(r, k)
		if err != nil {
			return err
		}
		return s.renderHolder(w, r, p, 0)
	}
}

func (s *server) renderHolder(w http.ResponseWriter, r *http.Request, p *holderPage, status int) error {
	return s.render(w, r, view{status: status, template: "product", title: p.Name, section: "products", data: p})
}

// saveHolder stores the notification settings. A form that is refused is shown again as it was filled in.
func (s *server) saveHolder(k holderKind) pageHandler {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := s.loadHolder(r, k)
		if err != nil {
			return err
		}
		if !p.MayEdit {
			return needs(rule.NoRole, rule.Maintainer)
		}
		ctx := r.Context()
		var named NamedFields
		form, zoneFault := inPauseZone(r.PostForm)
		faults := input.ReadForm(form, &named.NotificationFields)
		if zoneFault != "" {
			faults.AddOnce(pauseZone, zoneFault)
		}
		if r.PostForm.Has("preview") && !k.group {
			return s.renderPreview(w, r, p, &productFields{NamedFields: named}, faults)
		}
		if k.group {
			_, err = s.putProductGroup(ctx, p.ID, &productGroupFields{named}, faults)
		} else {
			_, err = s.putProduct(ctx, p.ID, &productFields{NamedFields: named}, faults)
		}
		if refused, is := faultsIn(err); is {
			p.Faulty = len(refused)
			typedAll(p.Fields, r.PostForm, refused)
			return s.renderHolder(w, r, p, http.StatusUnprocessableEntity)
		}
		if err != nil {
			return err
		}
		follows, unnotified, err := s.whatFollows(ctx, p.counted)
		if err != nil {
			return err
		}
		s.notice(ctx, "Saved. "+follows)
		path := p.Path
		if unnotified > 0 {
			path = withQuery(path, "unnotified", strconv.Itoa(unnotified))
		}
		s.redirect(w, r, path)
		return nil
	}
}

// renderPreview shows the form as it was filled in, with what its settings would have notified.
func (s *server) renderPreview(
	w http.ResponseWriter, r *http.Request, p *holderPage, sent *productFields, faults input.Faults,
) error {
	found, err := s.previewSettings(r.Context(), p.ID, sent, faults, previewDays)
	refused, is := faultsIn(err)
	if err != nil && !is {
		return err
	}
	status := http.StatusOK
	if is {
		p.Faulty, status = len(refused), http.StatusUnprocessableEntity
	} else {
		p.Preview = found.words() + " " + plural(found.matching, "observation matches", "observations match") + " now."
	}
	typedAll(p.Fields, r.PostForm, refused)
	return s.renderHolder(w, r, p, status)
}

// whatFollows says what changed settings do to the observations of products, and how many would be notified as new.
func (s *server) whatFollows(ctx context.Context, productIDs []int64) (words string, unnotified int, err error) {
	counts, err := dbmodel.CountObservations(ctx, s.db.Reader, productIDs)
	if err != nil {
		return "", 0, fmt.Errorf("count observations: %w", err)
	}
	products, err := dbmodel.ProductContexts(ctx, s.db.Reader, productIDs)
	if err != nil {
		return "", 0, fmt.Errorf("load products: %w", err)
	}
	conditions := make(map[int64]rule.Conditions, len(products))
	for id, p := range products {
		conditions[id] = rule.Effective(p.Product, p.Group).Conditions
	}
	words, unnotified = matchWords(counts, conditions)
	return words, unnotified, nil
}

func (s *server) sendProductTest(w http.ResponseWriter, r *http.Request) error {
	p, err := s.loadHolder(r, holderKind{root: productsPath})
	if err != nil {
		return err
	}
	out, err := s.testProduct(r.Context(), p.ID, queryWord(r, "channel", rule.Channels))
	if err != nil {
		return err
	}
	if p.Tests = out.Body.Results; len(p.Tests) == 0 {
		p.Tests = []testResult{
			{Message: "Nothing is set, so no message was sent: fill in an email address or a webhook, and save."},
		}
	}
	return s.renderHolder(w, r, p, 0)
}
