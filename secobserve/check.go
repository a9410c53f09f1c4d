package secobserve

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/seed91453169/tocsin/dbmodel"
)

// Plan is what a pass would read and change.
type Plan struct {
	Version      string // of SecObserve, as it names it
	Superuser    bool   // the token sees everything
	First        bool   // the next pass is the first one, or goes on with it
	Observations int    // there
	Stored       int64  // of these here
	There        struct{ Groups, Products, Users int }

	// What would be stored, because it is new or differs.
	Groups, Products, Users, Members int
	// Read are the products whose observations would be read.
	Read int
	// Refused is what was refused when it was last read.
	Refused []dbmodel.SecObserveRefusal
	// Doubles are the notifications that SecObserve sends by itself, each with where to switch it off.
	Doubles []string
}

// Plan reads all lists but those of observations, and stores nothing.
func (c *Connector) Plan(ctx context.Context) (*Plan, error) {
	plan := new(Plan)
	p := &pass{Connector: c, plan: plan, problems: map[string]string{}}
	if err := p.load(ctx); err != nil {
		return nil, err
	}
	if err := p.knowServer(ctx); err != nil {
		return nil, err
	}
	if err := p.read(ctx); err != nil {
		return nil, err
	}
	steps := []func(context.Context) error{p.storeGroups, p.storeProducts}
	if p.privileged {
		steps = append(steps, p.storeUsers, p.storeMembers)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	_, count, err := page[title](ctx, p.Client, "observation_titles/", nil, 1, 1)
	if err != nil {
		return nil, err
	}
	if plan.Stored, err = dbmodel.CountSecObserveObservations(ctx, p.DB); err != nil {
		return nil, fmt.Errorf("count the observations of SecObserve: %w", err)
	}
	if plan.Refused, err = dbmodel.SecObserveRefusals(ctx, p.DB); err != nil {
		return nil, fmt.Errorf("load what was refused: %w", err)
	}
	plan.Version, plan.Superuser, plan.First, plan.Observations = p.version, p.privileged, !p.state.Loaded, count
	plan.There.Groups, plan.There.Products, plan.There.Users = len(p.there.groups), len(p.there.products),
		len(p.there.users)
	for i := range p.there.products {
		r := &p.there.products[i]
		if k := p.products[r.ID.V]; k.LastChange == nil || !k.LastChange.Equal(r.LastChange.V) {
			plan.Read++
		}
	}
	plan.Doubles = p.there.doubles()
	return plan, nil
}

// doubles names what SecObserve sends by itself, with where to switch it off.
func (r *remote) doubles() (out []string) {
	var webhooks []string
	for i := range r.groups {
		g := &r.groups[i]
		if g.posts() {
			webhooks = append(webhooks, fmt.Sprintf("product group %d %q", g.ID.V, g.Name.V))
		}
	}
	for i := range r.products {
		q := &r.products[i]
		if q.posts() {
			webhooks = append(webhooks, fmt.Sprintf("product %d %q", q.ID.V, q.Name.V))
		}
	}
	if s := r.settings; s != nil {
		if s.EmailFrom.V != "" { // newer versions mail to users, too, wherever no address is set
			out = append(out, "mail: SecObserve sends it as long as its setting \"E-mail from\" is filled; "+
				"empty it there, and set email_from in Tocsin's settings")
		}
		for place, list := range map[string][]string{
			"exceptions": {s.ExceptionTeams.V, s.ExceptionSlack.V}, "observation titles": {s.TitleTeams.V, s.TitleSlack.V},
		} {
			if strings.Join(list, "") != "" {
				webhooks = append(webhooks, "the settings for "+place)
			}
		}
	}
	if len(webhooks) > 0 {
		slices.Sort(webhooks)
		out = append(out, "Microsoft Teams and Slack: SecObserve posts to the webhooks of "+someOf(webhooks)+
			"; block them in its network, or move them to Tocsin: set TOCSIN_SECOBSERVE_KEEP=contacts, "+
			"enter them in Tocsin, and empty them there")
	}
	return out
}

// posts reports whether there are webhooks.
func (n *notification) posts() bool { return n.Teams.V != "" || n.Slack.V != "" }

// someOf names the first of a list, and the number of the others.
func someOf(list []string) string {
	const most = 3
	text := strings.Join(list[:min(len(list), most)], ", ")
	if more := len(list) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
