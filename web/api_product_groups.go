package web

import (
	"context"
	"fmt"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

type productGroupFields struct {
	NamedFields
}

type productGroupAnswer struct {
	ID                  int64  `json:"id"`
	Name                string `json:"name"`
	*NotificationAnswer        // nil for callers who see no more than the name
}

// MarshalJSON implements json.Marshaler.
func (a productGroupAnswer) MarshalJSON() ([]byte, error) {
	type withoutContacts productGroupAnswer
	var contacts shownContacts
	if a.NotificationAnswer != nil {
		contacts = a.contacts
	}
	return contacts.marshal(withoutContacts(a))
}

// TransformSchema implements huma.SchemaTransformer.
func (productGroupAnswer) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	shownContactsSchema(s, notificationPrefix)
	s.Required = []string{"id", "name"}
	s.Description = "Members of its products who are not members of the group see id and name only."
	return s
}

type productGroupOutput struct{ Body productGroupAnswer }

func (s *server) apiListProductGroups(ctx context.Context, in *ListParams) (*listOutput[productGroupAnswer], error) {
	after, err := idCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	groups, err := dbmodel.ProductGroups(ctx, s.db.Reader, viewerOf(ctx), after, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list product groups: %w", err)
	}
	holders := make([]rule.Holder, len(groups))
	for i := range groups {
		holders[i] = groupHolder(groups[i].ID)
	}
	contacts, err := s.contactsOf(ctx, s.db.Reader, holders...)
	if err != nil {
		return nil, err
	}
	return pageOf(groups, in.Limit, func(g *dbmodel.ProductGroup) productGroupAnswer {
		return showProductGroup(g, contacts)
	},
		func(g *dbmodel.ProductGroup) string { return idCursorOf(g.ID) }), nil
}

func (s *server) apiGetProductGroup(ctx context.Context, in *IDParam) (*productGroupOutput, error) {
	g, err := dbmodel.VisibleProductGroupByID(ctx, s.db.Reader, viewerOf(ctx), in.ID)
	if err != nil {
		return nil, missing(err, "product group", in.ID)
	}
	return s.productGroupOutput(ctx, s.db.Reader, g)
}

func (s *server) apiPutProductGroup(ctx context.Context, in *IDParam) (*productGroupOutput, error) {
	// Before the body, which may be large; putProductGroup asks again.
	if err := mayEdit(ctx, s.db.Reader, groupMembers, in.ID); err != nil {
		return nil, err
	}
	var sent productGroupFields
	found, err := readJSONFaults(ctx, &sent)
	if err != nil {
		return nil, err
	}
	return s.putProductGroup(ctx, in.ID, &sent, found)
}

// putProductGroup makes a product group, or changes what was sent of it, where the caller may. It refuses faults that
// were found before together with its own.
func (s *server) putProductGroup(
	ctx context.Context, id int64, sent *productGroupFields, found input.Faults,
) (out *productGroupOutput, err error) {
	if err := dbmodel.TakeOutProducts(ctx, s.db, id); err != nil {
		return nil, fmt.Errorf("remove what is left of an earlier product group %d: %w", id, err)
	}
	var put holderPut
	err = s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := mayEdit(ctx, tx, groupMembers, id); err != nil {
			return err
		}
		g, isNew, err := forUpdate(ctx, tx, id, sent.Name.Set, dbmodel.ProductGroupForUpdate, dbmodel.AddProductGroup)
		if err != nil {
			return fmt.Errorf("load product group %d: %w", id, err)
		}
		put = holderPut{
			holder: groupHolder(id), isNew: isNew, name: &g.Name, settings: &g.NotificationSettings,
			save: func() error {
				if err := dbmodel.SaveProductGroup(ctx, tx, g); err != nil {
					return fmt.Errorf("store product group %d: %w", id, err)
				}
				return nil
			},
		}
		err = s.putHolder(ctx, tx, &put, &sent.NamedFields, found)
		if err != nil {
			return err
		}
		out, err = s.productGroupOutput(ctx, tx, g)
		return err
	})
	if err == nil && !viewerOf(ctx).Ingest {
		s.auditChange(ctx, "product_group_changed", id, sent, put.contacts)
	}
	return out, err
}

func (s *server) apiDeleteProductGroup(ctx context.Context, in *IDParam) (*struct{}, error) {
	err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := s.notTaken(ctx, tx, groupHolder(in.ID), "The product group comes"); err != nil {
			return err
		}
		return dbmodel.DeleteProductGroup(ctx, tx, in.ID)
	})
	if err != nil {
		return nil, missing(err, "product group", in.ID)
	}
	s.audit(ctx, "product_group_deleted").Int64("id", in.ID).Msg("a product group was deleted")
	s.unread.look()
	s.removeDeleted(ctx)
	return nil, nil //nolint:nilnil // 204
}

func (s *server) productGroupOutput(
	ctx context.Context, db bun.IDB, g *dbmodel.ProductGroup,
) (*productGroupOutput, error) {
	contacts, err := s.contactsOf(ctx, db, groupHolder(g.ID))
	if err != nil {
		return nil, err
	}
	return &productGroupOutput{showProductGroup(g, contacts)}, nil
}

func showProductGroup(g *dbmodel.ProductGroup, contacts holdersContacts) productGroupAnswer {
	out := productGroupAnswer{ID: g.ID, Name: g.Name}
	if !g.NameOnly {
		settings := showNotificationSettings(&g.NotificationSettings, groupHolder(g.ID), contacts)
		out.NotificationAnswer = &settings
	}
	return out
}
