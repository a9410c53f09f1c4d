package secobserve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
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

// knowServer asks, once in a while, for the version of SecObserve, the user of the token, and what SecObserve can.
func (p *pass) knowServer(ctx context.Context) error {
	c := p.Connector
	c.mu.Lock()
	defer c.mu.Unlock()
	if since := p.began.Sub(c.known); c.me != 0 && since >= 0 && since < todayEvery {
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
	edits := true
	q := url.Values{"assessment_status": {approvedWithEdits}}
	_, _, err = page[approval](ctx, c.Client, "observation_logs/", q, 1, 1)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusBadRequest { // a word that it does not know
		edits, err = false, nil
	}
	if err != nil {
		return err
	}
	if c.me != 0 && edits && !c.edits && p.state.Loaded { // SecObserve was updated meanwhile
		if err := p.readAllAnew(ctx); err != nil {
			return err
		}
	}
	c.version, c.me, c.edits, c.known = s.Version, me.ID.V, edits, p.began
	return nil
}

// read reads all lists but those of observations.
func (p *pass) read(ctx context.Context) (err error) {
	r := new(remote)
	p.there = r
	if r.users, err = all[user](ctx, p.Client, "users/", nil, p.sizes.list); err != nil {
		return err
	}
	at := slices.IndexFunc(r.users, func(u user) bool { return u.ID.V == p.me })
	p.privileged = at >= 0 && r.users[at].active() && r.users[at].Superuser.V
	if p.privileged {
		if r.settings, err = one[settings](ctx, p.Client, "settings/1/"); err != nil {
			return err
		}
	} else {
		why := "the user of its token is no superuser"
		if at < 0 {
			why = "its list of users lacks the user of its token"
		}
		p.problems["SecObserveNoSuperuser"] = "SecObserve does not show all that it has: " + why + ". Nothing is deleted " +
			"here, and neither users, members nor settings are read. Make the user of the token a superuser there, or set " +
			"TOCSIN_SECOBSERVE_TOKEN to the token of a superuser and restart Tocsin"
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
