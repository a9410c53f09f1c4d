package secobserve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
)

const (
	// longestName is how many characters a name of a product, a group or a user may have.
	longestName = 255
	// batch is how many rows of a list one transaction stores.
	batch = 50
)

// checkName returns why a name is refused; empty: it is not.
func checkName(name string) string {
	switch {
	case name == "":
		return "name: must not be empty"
	case utf8.RuneCountInString(name) > longestName:
		return fmt.Sprintf("name: must have at most %d characters", longestName)
	}
	if message := accept.ValidateText(name, longestName); message != "" {
		return "name: " + message
	}
	return ""
}

// storeUsers stores users that are new or differ.
func (p *pass) storeUsers(ctx context.Context) error {
	known, err := dbmodel.SecObserveUsers(ctx, p.DB)
	if err != nil {
		return fmt.Errorf("load the users of SecObserve: %w", err)
	}
	p.users = make(map[int64]int64, len(known))
	byUserID := make(map[int64]*dbmodel.SecObserveUser, len(known))
	for id, u := range known {
		byUserID[u.UserID] = u
		p.users[id] = u.UserID
	}
	var differ []*user
	for i := range p.there.users {
		u := &p.there.users[i]
		if k := known[u.ID.V]; k == nil || *k != p.wanted(u, k) {
			differ = append(differ, u)
		}
	}
	if p.plan != nil {
		p.plan.Users = len(differ)
		for _, u := range differ {
			p.users[u.ID.V] = cmp.Or(p.users[u.ID.V], -u.ID.V)
		}
		differ = nil
	}
	for chunk := range slices.Chunk(differ, batch) {
		err := p.commit(ctx, "users", func(ctx context.Context, tx bun.Tx) error {
			for _, u := range chunk {
				if err := p.storeUser(ctx, tx, u, known, byUserID); err != nil {
					return fmt.Errorf("user %d: %w", u.ID.V, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i := range p.there.users {
		if u := &p.there.users[i]; !u.active() {
			delete(p.users, u.ID.V) // no membership counts
		}
	}
	return nil
}

// wanted is what is stored of a user that Tocsin knows as k.
func (p *pass) wanted(u *user, k *dbmodel.SecObserveUser) dbmodel.SecObserveUser {
	w := *k
	w.ID, w.Active, w.Username = u.ID.V, u.active(), u.Username.V
	w.FullName = strings.TrimSuffix(u.FullName, inactiveSuffix)
	if w.Email = u.Email.V; w.Email != "" && p.CheckAddress(rule.Email, w.Email) != nil {
		w.Email = ""
	}
	w.IsAdmin = w.Active && (u.Superuser.V || k.LocalAdmin != nil && *k.LocalAdmin)
	return w
}

// storeUser stores one user. One of the same name that was there before is taken over, and stays an administrator.
func (p *pass) storeUser(
	ctx context.Context, tx bun.Tx, u *user, known, byUserID map[int64]*dbmodel.SecObserveUser,
) error {
	item := dbmodel.SecObserveRefusal{Kind: "user", ID: u.ID.V, Name: u.Username.V}
	k := known[u.ID.V]
	faults, err := p.checkUser(ctx, tx, u, k)
	if err != nil || faults != nil {
		return errors.Join(err, p.settle(ctx, tx, item, faults))
	}
	stored, isNew, err := p.userRow(ctx, tx, u.Username.V, k)
	if err != nil {
		return err
	}
	if k == nil {
		if k = byUserID[stored.ID]; k == nil { // else the user of that name was made anew there
			k = &dbmodel.SecObserveUser{UserID: stored.ID, Active: true}
			if !isNew {
				k.LocalAdmin = new(stored.IsAdmin)
			}
		}
	}
	w := p.wanted(u, k)
	stored.FullName, stored.Email, stored.IsAdmin = w.FullName, w.Email, w.IsAdmin
	if err := dbmodel.SaveUser(ctx, tx, stored); err != nil {
		return err
	}
	if err := dbmodel.SaveSecObserveUser(ctx, tx, &w); err != nil {
		return err
	}
	if !w.Active {
		if err := dbmodel.EndAccess(ctx, tx, w.UserID); err != nil {
			return err
		}
	}
	p.users[u.ID.V] = w.UserID
	if w.Email != u.Email.V {
		faults = append(faults, fmt.Sprintf("email: %v", p.CheckAddress(rule.Email, u.Email.V)))
	}
	return p.settle(ctx, tx, item, faults)
}

// checkUser returns why a user is refused.
func (p *pass) checkUser(ctx context.Context, tx bun.Tx, u *user, k *dbmodel.SecObserveUser) ([]string, error) {
	name := u.Username.V
	if err := dbmodel.CheckUsername(name); err != nil {
		return []string{"username: " + err.Error()}, nil //nolint:nilerr // it is why the user is refused
	}
	switch {
	case name == dbmodel.Automation:
		return []string{"username: is reserved here"}, nil
	case accept.ValidateText(u.FullName, longestName) != "":
		return []string{"full_name: " + accept.ValidateText(u.FullName, longestName)}, nil
	case k == nil || k.Username == name:
		return nil, nil
	}
	_, err := dbmodel.UserByName(ctx, tx, name)
	if errors.Is(err, dbmodel.ErrNotFound) {
		return nil, nil
	}
	return []string{"username: another user has this name here"}, err
}

// userRow returns the row of a user, which it makes, takes over or renames.
func (p *pass) userRow(ctx context.Context, tx bun.Tx, name string, k *dbmodel.SecObserveUser) (
	u *dbmodel.User, isNew bool, err error,
) {
	if k == nil {
		return dbmodel.EnsuredUser(ctx, tx, name)
	}
	if k.Username != name {
		if err := dbmodel.RenameUser(ctx, tx, k.UserID, name); err != nil {
			return nil, false, err
		}
	}
	u, err = dbmodel.UserForUpdate(ctx, tx, name)
	return u, false, err
}

// storeMembers brings memberships in step. A membership is removed only where it is missing in two readings.
func (p *pass) storeMembers(ctx context.Context) error {
	if p.Keep.Members {
		return nil
	}
	have, err := dbmodel.SecObserveMembers(ctx, p.DB)
	if err != nil {
		return fmt.Errorf("load the members of SecObserve: %w", err)
	}
	want := p.expand(p.there.members)
	var set, removed []dbmodel.SecObserveMember
	for m, role := range want {
		if have[m] != role {
			set = append(set, m)
		}
	}
	for m := range have {
		if _, there := want[m]; !there {
			removed = append(removed, m)
		}
	}
	if p.plan != nil {
		p.plan.Members = len(set) + len(removed)
		return nil
	}
	if len(removed) > 0 {
		again, err := p.readMembers(ctx)
		if err != nil {
			return err
		}
		if len(again.direct)+len(again.byGroup) == 0 && !p.options.ConfirmDeletions {
			p.problems["SecObserveMembersHeld"] = "SecObserve has no members any more: none was removed here; " +
				"if that is right, run \"tocsin secobserve sync --confirm-deletions\""
			return nil
		}
		second := p.expand(again)
		removed = slices.DeleteFunc(removed, func(m dbmodel.SecObserveMember) bool { return second[m] != "" })
		if still, err := p.stillPrivileged(ctx); err != nil || !still {
			return err // the next pass says that the token sees less
		}
	}
	err = p.changeMembers(ctx, set, func(ctx context.Context, tx bun.Tx, m dbmodel.SecObserveMember) error {
		return dbmodel.SetMember(ctx, tx, m.In(), m.UserID, want[m])
	})
	if err != nil {
		return err
	}
	return p.changeMembers(ctx, removed, func(ctx context.Context, tx bun.Tx, m dbmodel.SecObserveMember) error {
		err := dbmodel.RemoveMember(ctx, tx, m.In(), m.UserID)
		if errors.Is(err, dbmodel.ErrNotFound) {
			return nil
		}
		return err
	})
}

// changeMembers changes memberships, some in one transaction.
func (p *pass) changeMembers(
	ctx context.Context, list []dbmodel.SecObserveMember,
	change func(context.Context, bun.Tx, dbmodel.SecObserveMember) error,
) error {
	for chunk := range slices.Chunk(list, batch) {
		err := p.commit(ctx, "members", func(ctx context.Context, tx bun.Tx) error {
			for _, m := range chunk {
				if err := change(ctx, tx, m); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// expand returns the highest role of each user, directly or through authorization groups, in what Tocsin knows.
func (p *pass) expand(m members) map[dbmodel.SecObserveMember]rule.Role {
	inGroup := map[int64][]int64{}
	for _, g := range m.inGroups {
		inGroup[g.Group.V] = append(inGroup[g.Group.V], g.User.V)
	}
	out := map[dbmodel.SecObserveMember]rule.Role{}
	add := func(of, user int64, number int) {
		holder := rule.Holder{Kind: rule.HolderProduct, ID: of}
		if _, isGroup := p.groups[of]; isGroup {
			holder.Kind = rule.HolderGroup
		} else if p.products[of] == nil {
			return
		}
		role, valid := roleOf(number)
		userID, known := p.users[user]
		key := dbmodel.SecObserveMember{Holder: holder, UserID: userID}
		if valid && known && slices.Index(rule.Roles, role) > slices.Index(rule.Roles, out[key]) {
			out[key] = role
		}
	}
	for _, r := range m.direct {
		add(r.Product.V, r.User, r.Role.V)
	}
	for _, r := range m.byGroup {
		for _, user := range inGroup[r.Group] {
			add(r.Product.V, user, r.Role.V)
		}
	}
	return out
}
