package torture

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// user is a user of Tocsin. Administrators see everything, others the products and groups of which they are members.
type user struct {
	name             string
	admin            bool
	products, groups []int64
}

func (u *user) email() string { return u.name + "@example.com" }

// subscription is a subscription of a run. Its ID is that of the answer which creates it, the targets of its contacts
// are numbers of receivers, from 1.
type subscription struct {
	rule.Subscription
	product, group int64 // neither: it is to everything
	user           *user // nil: a team's
}

// newUsers draws the users.
func newUsers(r *rand.Rand) []*user {
	users := []*user{{name: "ann"}, {name: "bob"}, {name: "root", admin: true}}
	for _, u := range users[:2] {
		for _, id := range r.Perm(producers * productsEach)[:4] {
			u.products = append(u.products, int64(id+1))
		}
		u.groups = []int64{int64(1 + r.IntN(3))}
	}
	return users
}

// newSubscriptions draws the subscriptions: of teams and users, at once and on a schedule. Those on a schedule have
// receivers of their own, and so have the signed webhooks.
func newSubscriptions(r *rand.Rand, users []*user) []*subscription {
	product := func() int64 { return int64(1 + r.IntN(producers*productsEach)) }
	group := func() int64 { return int64(1 + r.IntN(3)) }
	ann, bob, root, shared := users[0], users[1], users[2], receivers[r.IntN(5)]
	var list []*subscription
	add := func(s subscription, to ...string) *subscription {
		s.Name, s.Enabled = fmt.Sprint("Subscription ", len(list)+1), true
		s.Contacts = nil
		s.addContacts(to)
		list = append(list, &s)
		return list[len(list)-1]
	}
	atOnce := func(s subscription, to ...string) { add(s, to...).Filter = randomFilter(r) }
	onSchedule := func(s subscription, to ...string) subscription {
		added := add(s, to...)
		added.Filter = randomFilter(r)
		added.Schedule, added.Timezone = []string{"* * * * *", "0 8 * * *"}[r.IntN(2)], "Europe/Berlin"
		added.AtOnce.MinSeverity = []rule.Severity{"", rule.Critical, rule.High}[r.IntN(3)]
		return *added
	}
	atOnce(subscription{product: product()}, shared)
	atOnce(subscription{group: group()}, "/data/1", "/teams/2")
	atOnce(subscription{}, "/slack/6", "f@example.com")
	atOnce(subscription{user: ann}, ann.email())
	atOnce(subscription{user: ann, product: ann.products[0]}, shared)
	onSchedule(subscription{product: product()}, "/slack/daily1", "daily@example.com")
	onSchedule(subscription{}, "/teams/daily2", "/data/daily3")
	onSchedule(subscription{user: bob}, bob.email())
	onSchedule(subscription{user: root}, "/slack/root")
	add(onSchedule(subscription{group: group()}, "/slack/same1"), "/teams/same2", "/data/same3")
	return list
}

// addContacts gives s contacts, and what follows from whose it is.
func (s *subscription) addContacts(to []string) {
	for _, name := range to {
		c := rule.Contact{Channel: channelOf(name), Target: int64(1 + slices.Index(receivers, name))}
		if c.Channel == rule.Email {
			c.Address = name
		}
		s.Contacts = append(s.Contacts, c)
	}
	switch {
	case s.user == nil && s.product == 0 && s.group == 0:
		s.Whole = true
	case s.user == nil:
		s.Sees = rule.TeamTypes()
	default:
		s.Whole, s.Sees = s.user.admin, rule.MemberTypes
	}
	if s.user != nil {
		s.User = 1
	}
}

func channelOf(receiver string) rule.Channel {
	for prefix, channel := range map[string]rule.Channel{
		"/slack/": rule.Slack, "/teams/": rule.MSTeams, "/data/": rule.Webhook,
	} {
		if strings.HasPrefix(receiver, prefix) {
			return channel
		}
	}
	return rule.Email
}

// isOfProduct reports whether notifications of a type go to the contacts of a product, and are paused with it.
func isOfProduct(t rule.Type) bool { return t.Info().Holder == rule.HolderProduct }

func randomFilter(r *rand.Rand) (f rule.Filter) {
	if r.IntN(4) == 0 {
		f.Types = slices.DeleteFunc(slices.Clone(rule.Types), func(t rule.Type) bool { return !isOfProduct(t) })
	}
	if r.IntN(4) == 0 {
		f.Events = []rule.Event{rule.EventNew, rule.EventDropped, rule.EventFailed}
	}
	if r.IntN(2) == 0 {
		f.MinSeverity = rule.Severities[r.IntN(3)]
	}
	if r.IntN(4) == 0 {
		f.Statuses = slices.Clone(rule.Statuses[:1+r.IntN(4)])
	}
	if r.IntN(4) == 0 {
		f.MinPriority = new(10)
	}
	return f
}

// holdsFor reports whether s is about a product and its user sees that; 0: about what has no product.
func (p *installation) holdsFor(s *subscription, product int64) bool {
	group := int64(0)
	if product != 0 {
		group = p.products[product-1].group
	}
	if s.product != 0 && s.product != product || s.group != 0 && s.group != group {
		return false
	}
	return s.Whole || s.user == nil ||
		slices.Contains(s.user.products, product) || group != 0 && slices.Contains(s.user.groups, group)
}

// takes reports whether s takes a notification, at once or with a slot.
func (p *installation) takes(s *subscription, n *dbmodel.Notification) bool {
	return p.holdsFor(s, productOf(n)) && s.Takes(n.Rule())
}

func productOf(n *dbmodel.Notification) int64 {
	if n.ProductID == nil {
		return 0
	}
	return *n.ProductID
}

// subscribe stores users and subscriptions.
func (r *run) subscribe() {
	in := &r.plan.installation
	for _, u := range in.users {
		r.repeat(0, http.MethodPut, "/api/v1/users/"+u.name, object{"email": u.email(), "is_admin": u.admin})
		for _, id := range u.products {
			r.repeat(0, http.MethodPut, fmt.Sprintf("/api/v1/products/%d/members/%s", id, u.name), object{"role": "reader"})
		}
		for _, id := range u.groups {
			r.repeat(0, http.MethodPut, fmt.Sprintf("/api/v1/product-groups/%d/members/%s", id, u.name),
				object{"role": "reader"})
		}
	}
	for i, s := range in.subscriptions { // into an empty database
		s.ID = int64(i + 1)
		r.repeat(0, http.MethodPost, "/api/v1/subscriptions", s.body(r.network.URL))
	}
}

// body is the body of the POST of s; base is the URL of the webhooks.
func (s *subscription) body(base string) object {
	var contacts []object
	for _, c := range s.Contacts {
		o := object{"channel": c.Channel}
		if c.Channel != rule.Email {
			o["address"] = base + receivers[c.Target-1]
		} else if s.user == nil {
			o["address"] = c.Address
		}
		contacts = append(contacts, o)
	}
	o := object{
		"name": s.Name, "contacts": contacts, "types": s.Filter.Types, "events": s.Filter.Events,
		"min_severity": s.Filter.MinSeverity, "statuses": s.Filter.Statuses, "min_priority": s.Filter.MinPriority,
		"schedule": s.Schedule, "timezone": s.Timezone, "immediate_min_severity": s.AtOnce.MinSeverity,
	}
	if s.user != nil {
		o["username"] = s.user.name
	}
	if s.product != 0 {
		o["product_id"] = s.product
	}
	if s.group != 0 {
		o["product_group_id"] = s.group
	}
	return o
}
