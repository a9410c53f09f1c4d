package secobserve

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
)

// remote is what SecObserve has, but for observations.
type remote struct {
	users    []user
	settings *settings // nil: not visible
	groups   []group
	products []product
	members  members
}

// members are the lists that say who is a member of what.
type members struct {
	direct   []member
	byGroup  []member
	inGroups []groupMember
}

// versionPattern finds the version in "version_1.52.0".
var versionPattern = regexp.MustCompile(`(\d+)\.(\d+)`)

// tooOld reports whether a version is known and older than the oldest one.
func tooOld(version string) bool {
	found := versionPattern.FindStringSubmatch(version)
	if found == nil {
		return false // that of a development build: its fields decide
	}
	major, _ := strconv.Atoi(found[1])
	minor, _ := strconv.Atoi(found[2])
	return major < 1 || major == 1 && minor < 50
}

// knowServer asks, once in a process, for the version of SecObserve and the user of the token.
func (c *Connector) knowServer(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.me != 0 {
		return nil
	}
	s, err := one[status](ctx, c.Client, "status/version/")
	if err != nil {
		return err
	}
	if tooOld(s.Version) {
		return &Error{Kind: TooOld, Path: "status/version/", detail: fmt.Sprintf(
			"version %.40q is older than %s, which notifies about observations at first", s.Version, oldest)}
	}
	me, err := one[user](ctx, c.Client, "users/me/")
	if err != nil {
		return err
	}
	c.version, c.me = s.Version, me.ID.V
	return nil
}

// read reads all lists but those of observations.
func (p *pass) read(ctx context.Context) (err error) {
	r := new(remote)
	p.there = r
	if r.users, err = all[user](ctx, p.Client, "users/", nil, p.sizes.list); err != nil {
		return err
	}
	for i := range r.users {
		if u := &r.users[i]; u.ID.V == p.me {
			p.privileged = u.active() && u.Superuser.V
		}
	}
	if p.privileged {
		if r.settings, err = one[settings](ctx, p.Client, "settings/1/"); err != nil {
			return err
		}
	} else {
		p.problems["SecObserveNoSuperuser"] = "the user of the token of SecObserve is no superuser: nothing is deleted, " +
			"and neither users, members nor settings are read; set TOCSIN_SECOBSERVE_TOKEN to the token of a superuser"
	}
	if r.groups, err = all[group](ctx, p.Client, "product_groups/", nil, p.sizes.list); err != nil {
		return err
	}
	if r.products, err = all[product](ctx, p.Client, "products/", nil, p.sizes.list); err != nil {
		return err
	}
	p.counts.Products = len(r.products)
	if p.privileged && !p.Keep.Members {
		r.members, err = p.readMembers(ctx)
	}
	return err
}

func (p *pass) readMembers(ctx context.Context) (m members, err error) {
	if m.direct, err = all[member](ctx, p.Client, "product_members/", nil, p.sizes.list); err != nil {
		return m, err
	}
	m.byGroup, err = all[member](ctx, p.Client, "product_authorization_group_members/", nil, p.sizes.list)
	if err != nil || len(m.byGroup) == 0 {
		return m, err
	}
	m.inGroups, err = all[groupMember](ctx, p.Client, "authorization_group_members/", nil, p.sizes.list)
	return m, err
}

// stillPrivileged asks whether the token sees everything, right before something is deleted.
func (p *pass) stillPrivileged(ctx context.Context) (bool, error) {
	me, err := one[user](ctx, p.Client, "users/me/")
	if err != nil {
		return false, err
	}
	return me.ID.V == p.me && me.active() && me.Superuser.V, nil
}
