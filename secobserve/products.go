package secobserve

import (
	"context"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// storeGroups stores product groups that are new or differ.
func (p *pass) storeGroups(ctx context.Context) error {
	keys := map[int64]string{}
	var differ []*group
	for i := range p.there.groups {
		g := &p.there.groups[i]
		key, err := p.key(append(g.values(), g.Name.V)...)
		if err != nil {
			return err
		}
		if keys[g.ID.V] = key; p.groups[g.ID.V] != key {
			differ = append(differ, g)
		}
	}
	if p.plan != nil {
		p.plan.Groups = len(differ)
		for _, g := range differ {
			p.groups[g.ID.V] = keys[g.ID.V]
		}
		return nil
	}
	for chunk := range slices.Chunk(differ, batch) {
		stored := make([]bool, len(chunk))
		err := p.commit(ctx, "product groups", func(ctx context.Context, tx bun.Tx) (err error) {
			for i, g := range chunk {
				if stored[i], err = p.storeGroup(ctx, tx, g, keys[g.ID.V]); err != nil {
					return fmt.Errorf("product group %d: %w", g.ID.V, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, g := range chunk {
			if stored[i] {
				p.groups[g.ID.V] = keys[g.ID.V]
			}
		}
	}
	return nil
}

func (p *pass) storeGroup(ctx context.Context, tx bun.Tx, g *group, key string) (stored bool, err error) {
	item := dbmodel.SecObserveRefusal{Kind: "product group", ID: g.ID.V, Name: g.Name.V}
	if message := checkName(g.Name.V); message != "" {
		return false, p.settle(ctx, tx, item, []string{message})
	}
	if err := dbmodel.AddProductGroup(ctx, tx, g.ID.V); err != nil {
		return false, err
	}
	row, err := dbmodel.ProductGroupForUpdate(ctx, tx, g.ID.V)
	if err != nil {
		return false, err
	}
	row.Name = g.Name.V
	faults := p.storeConditions(&g.notification, &row.NotificationSettings)
	if err := dbmodel.SaveProductGroup(ctx, tx, row); err != nil {
		return false, err
	}
	found, err := p.storeContacts(ctx, tx, rule.Holder{Kind: rule.HolderGroup, ID: g.ID.V}, g.contacts())
	if err != nil {
		return false, err
	}
	if err := dbmodel.SaveSecObserveGroup(ctx, tx, g.ID.V, key); err != nil {
		return false, err
	}
	return true, p.settle(ctx, tx, item, append(faults, found...))
}

// storeProducts stores products that are new or differ; before the load is over their security gates, too.
func (p *pass) storeProducts(ctx context.Context) error {
	keys := map[int64]string{}
	var differ []*product
	for i := range p.there.products {
		r := &p.there.products[i]
		key, err := p.key(append(r.values(), r.Name.V, p.groupOf(r))...)
		if err != nil {
			return err
		}
		keys[r.ID.V] = key
		known := p.products[r.ID.V]
		if known == nil || known.Settings != key ||
			!p.state.Loaded && rule.Gate(known.Gate, r.Gate.V) != rule.NoEvent {
			differ = append(differ, r)
		}
	}
	if p.plan != nil {
		p.plan.Products = len(differ)
		for _, r := range differ {
			if p.products[r.ID.V] == nil {
				p.products[r.ID.V] = &dbmodel.SecObserveProduct{ID: r.ID.V}
			}
		}
		return nil
	}
	if !p.state.Loaded {
		if err := p.baseGates(ctx); err != nil {
			return err
		}
	}
	for chunk := range slices.Chunk(differ, batch) {
		var stored []*dbmodel.SecObserveProduct
		err := p.commit(ctx, "products", func(ctx context.Context, tx bun.Tx) error {
			stored = nil
			for _, r := range chunk {
				s, err := p.storeProduct(ctx, tx, r, keys[r.ID.V])
				if err != nil {
					return fmt.Errorf("product %d: %w", r.ID.V, err)
				}
				if s != nil {
					stored = append(stored, s)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, s := range stored {
			p.products[s.ID] = s
		}
	}
	return nil
}

// groupOf is the group of a product, nil where there is none that Tocsin knows.
func (p *pass) groupOf(r *product) *int64 {
	if g := r.Group.V; g != nil {
		if _, known := p.groups[*g]; known {
			return g
		}
	}
	return nil
}

// storeProduct stores a product and its gate. It returns nil where the product is refused.
func (p *pass) storeProduct(
	ctx context.Context, tx bun.Tx, r *product, key string,
) (*dbmodel.SecObserveProduct, error) {
	item := dbmodel.SecObserveRefusal{Kind: "product", ID: r.ID.V, Name: r.Name.V}
	if message := checkName(r.Name.V); message != "" {
		return nil, p.settle(ctx, tx, item, []string{message})
	}
	if err := dbmodel.AddProduct(ctx, tx, r.ID.V); err != nil {
		return nil, err
	}
	row, err := dbmodel.ProductForUpdate(ctx, tx, r.ID.V)
	if err != nil {
		return nil, err
	}
	row.Name, row.ProductGroupID = r.Name.V, p.groupOf(r)
	faults := p.storeConditions(&r.notification, &row.NotificationSettings)
	if err := dbmodel.SaveProduct(ctx, tx, row); err != nil {
		return nil, err
	}
	found, err := p.storeContacts(ctx, tx, rule.Holder{Kind: rule.HolderProduct, ID: r.ID.V}, r.contacts())
	if err != nil {
		return nil, err
	}
	s := &dbmodel.SecObserveProduct{ID: r.ID.V}
	known := p.products[r.ID.V]
	if known != nil {
		*s = *known
	}
	s.Settings = key
	if !p.state.Loaded { // what changes from now on is read after the load
		if known == nil {
			s.LastChange, s.Newest, s.GateChange = &r.LastChange.V, &r.LastChange.V, p.gateBase
		}
		s.Gate = r.Gate.V
		if err := dbmodel.SetSecurityGate(ctx, tx, r.ID.V, r.Gate.V, nil); err != nil {
			return nil, err
		}
	}
	if err := dbmodel.SaveSecObserveProduct(ctx, tx, s); err != nil {
		return nil, err
	}
	return s, p.settle(ctx, tx, item, append(faults, found...))
}
