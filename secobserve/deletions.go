package secobserve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
)

// delete removes what is gone, where the token still sees everything and it is not too much at once.
func (p *pass) delete(ctx context.Context) error {
	if !p.privileged {
		return nil
	}
	products, groups, users, err := p.missingRows(ctx)
	if err != nil {
		return err
	}
	observations, err := p.missingObservations(ctx)
	if err != nil {
		return err
	}
	if len(products)+len(groups)+len(users)+len(observations)+len(p.problems) == 0 {
		return nil
	}
	if still, err := p.stillPrivileged(ctx); err != nil || !still {
		p.reached, p.problems = nil, map[string]string{} // all is read again; the next pass says that the token sees less
		return err
	}
	if products, observations, err = p.holdObservations(ctx, products, observations); err != nil {
		return err
	}
	if len(products)+len(groups)+len(users)+len(observations) == 0 {
		return nil
	}
	if err := p.forgetGroups(ctx, groups); err != nil {
		return err
	}
	for _, d := range []struct {
		what   string
		ids    []int64
		remove func(ctx context.Context, tx bun.Tx, id int64) error
	}{
		{"observations", observations, func(ctx context.Context, tx bun.Tx, id int64) error {
			return dbmodel.DeleteObservation(ctx, tx, id)
		}},
		{"products", products, dbmodel.DeleteProduct},
		{"product groups", groups, dbmodel.DeleteProductGroup},
		{"users", users, p.deleteUser},
	} {
		for chunk := range slices.Chunk(d.ids, batch) {
			err := p.commit(ctx, "the deletion of "+d.what, func(ctx context.Context, tx bun.Tx) error {
				for _, id := range chunk {
					if err := d.remove(ctx, tx, id); err != nil && !errors.Is(err, dbmodel.ErrNotFound) {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			p.counts.Deleted += len(chunk)
		}
	}
	return nil
}

// forgetGroups has the products of groups, which are about to be deleted, stored again with the next pass.
func (p *pass) forgetGroups(ctx context.Context, groups []int64) error {
	for _, id := range groups {
		for n := int64(1); n > 0; {
			err := p.commit(ctx, "what is deleted of product groups", func(ctx context.Context, tx bun.Tx) (err error) {
				n, err = dbmodel.ForgetGroupOfProducts(ctx, tx, id, 1_000)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// storeReached stores how far the observations of products are stored of which some were gone.
func (p *pass) storeReached(ctx context.Context) error {
	if len(p.reached) == 0 {
		return nil
	}
	return p.commit(ctx, "how far products are read", func(ctx context.Context, tx bun.Tx) error {
		for _, r := range p.reached {
			_, err := dbmodel.ProductByID(ctx, tx, r.ID)
			if err == nil {
				err = dbmodel.SaveSecObserveProduct(ctx, tx, r)
			}
			if err != nil && !errors.Is(err, dbmodel.ErrNotFound) { // deleted by now
				return err
			}
		}
		return nil
	})
}

// holdObservations returns what may be deleted of products and observations that are gone. The observations of a
// product go with it.
func (p *pass) holdObservations(ctx context.Context, products, observations []int64) (_, _ []int64, err error) {
	if len(products)+len(observations) == 0 {
		return nil, nil, nil
	}
	stored, err := dbmodel.CountSecObserveObservations(ctx, p.DB)
	if err != nil {
		return nil, nil, fmt.Errorf("count the observations of SecObserve: %w", err)
	}
	gone := map[int64]bool{}
	for _, id := range observations {
		gone[id] = true
	}
	for _, id := range products {
		ids, err := dbmodel.ProductObservationIDs(ctx, p.DB, id)
		if err != nil {
			return nil, nil, fmt.Errorf("list the observations of product %d: %w", id, err)
		}
		for _, o := range ids {
			gone[o] = true
		}
	}
	if p.hold("observations", len(gone), int(stored), false) {
		return nil, nil, nil
	}
	return products, observations, nil
}

// deleteUser removes a user; one that was here before SecObserve's stays, as it is.
func (p *pass) deleteUser(ctx context.Context, tx bun.Tx, userID int64) error {
	known, err := dbmodel.SecObserveUsers(ctx, tx)
	if err != nil {
		return err
	}
	for _, u := range known {
		if u.UserID == userID && u.LocalAdmin != nil {
			row, err := dbmodel.UserForUpdate(ctx, tx, u.Username)
			if err != nil {
				return err
			}
			row.IsAdmin = *u.LocalAdmin
			if err := dbmodel.SaveUser(ctx, tx, row); err != nil {
				return err
			}
			return dbmodel.ForgetSecObserveUser(ctx, tx, userID)
		}
	}
	return dbmodel.DeleteUser(ctx, tx, userID)
}

// missingRows returns the products, groups and users (by their ids here) that are missing in two readings.
func (p *pass) missingRows(ctx context.Context) (products, groups, users []int64, err error) {
	knownUsers, err := dbmodel.SecObserveUsers(ctx, p.DB)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("load the users of SecObserve: %w", err)
	}
	products = missing(p.products, p.there.products)
	groups = missing(p.groups, p.there.groups)
	gone := missing(knownUsers, p.there.users)
	if len(products) > 0 {
		again, err := all[product](ctx, p.Client, "products/", nil, p.sizes.list)
		if err != nil {
			return nil, nil, nil, err
		}
		if products, err = absent[product](ctx, p, "products/", without(products, again)); err != nil {
			return nil, nil, nil, err
		}
		if p.hold("products", len(products), len(p.products), len(again) == 0) {
			products = nil
		}
	}
	if len(groups) > 0 {
		again, err := all[group](ctx, p.Client, "product_groups/", nil, p.sizes.list)
		if err != nil {
			return nil, nil, nil, err
		}
		if groups, err = absent[group](ctx, p, "product_groups/", without(groups, again)); err != nil {
			return nil, nil, nil, err
		}
		if p.hold("product groups", len(groups), len(p.groups), false) {
			groups = nil
		}
	}
	if len(gone) > 0 {
		again, err := all[user](ctx, p.Client, "users/", nil, p.sizes.list)
		if err != nil {
			return nil, nil, nil, err
		}
		if gone, err = absent[user](ctx, p, "users/", without(gone, again)); err != nil {
			return nil, nil, nil, err
		}
		if p.hold("users", len(gone), len(knownUsers), false) {
			gone = nil
		}
		for _, id := range gone {
			users = append(users, knownUsers[id].UserID)
		}
	}
	return products, groups, users, nil
}

// missing returns the keys of a map that no row has, in order.
func missing[V, T any, P interface {
	*T
	identified
}](known map[int64]V, rows []T) []int64 {
	var ids []int64
	for id := range known {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return without[T, P](ids, rows)
}

// absent returns which of the objects with the given ids are not found by themselves, either. Where these are many,
// their absence from two lists suffices.
func absent[T any, P interface {
	*T
	row
}](ctx context.Context, p *pass, path string, ids []int64) (gone []int64, err error) {
	if len(ids) > singly {
		return ids, nil
	}
	for _, id := range ids {
		_, err := one[T, P](ctx, p.Client, path+strconv.FormatInt(id, 10)+"/")
		if err != nil && !IsKind(err, Missing) {
			return nil, err
		}
		if err != nil {
			gone = append(gone, id)
		}
	}
	return gone, nil
}

// without returns the ids that no row has.
func without[T any, P interface {
	*T
	identified
}](ids []int64, rows []T) []int64 {
	there := make(map[int64]bool, len(rows))
	for i := range rows {
		there[P(&rows[i]).identity()] = true
	}
	return slices.DeleteFunc(ids, func(id int64) bool { return there[id] })
}

// hold reports whether so much is gone at once that nothing of it may be deleted without somebody's consent; that is
// reported then. empty says that the list has no rows at all.
func (p *pass) hold(what string, gone, known int, empty bool) bool {
	if p.options.ConfirmDeletions || !empty && (gone <= 10 || gone*10 <= known) {
		return false
	}
	if gone == 0 {
		return false
	}
	p.problems[heldClass(what)] = fmt.Sprintf("%d of %d %s are gone in SecObserve: none of them was deleted here; "+
		"if that is right, run \"tocsin secobserve sync --confirm-deletions\"", gone, known, what)
	return true
}

// heldClass is the class under which it is reported that deletions are held.
func heldClass(what string) string {
	return map[string]string{
		"products": "SecObserveProductsHeld", "product groups": "SecObserveGroupsHeld", "users": "SecObserveUsersHeld",
		"observations": "SecObserveObservationsHeld",
	}[what]
}
