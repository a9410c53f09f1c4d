package web

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// NamedFields are what a product and a product group have in common. Types that others embed are exported, because huma
// documents no others.
type NamedFields struct {
	ID   input.Field[int64]  `json:"id" doc:"May be sent back; must be the one of the path"`
	Name input.Field[string] `json:"name" doc:"1 to 255 characters; a new one needs it"`
	NotificationFields
}

type productGroupFields struct {
	NamedFields
}

type productGroupAnswer struct {
	ID                  int64  `json:"id"`
	Name                string `json:"name"`
	*NotificationAnswer        // nil for who sees no more than the name
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
	return pageOf(groups, in.Limit, func(g *dbmodel.ProductGroup) productGroupAnswer { return showProductGroup(g, contacts) },
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
	var sent productGroupFields
	found, err := readJSONFaults(ctx, &sent)
	if err != nil {
		return nil, err
	}
	return s.putProductGroup(ctx, in.ID, &sent, found)
}

// putProductGroup makes a product group, or changes what was sent of it, where the caller may. It refuses faults that were
// found before together with its own.
func (s *server) putProductGroup(ctx context.Context, id int64, sent *productGroupFields, found input.Faults) (out *productGroupOutput, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		v := viewerOf(ctx)
		if err := mayEdit(v, func() (rule.Role, error) { return dbmodel.RoleInGroup(ctx, tx, v, id) }); err != nil {
			return missing(err, "product group", id)
		}
		g, err := dbmodel.ProductGroupForUpdate(ctx, tx, id)
		if errors.Is(err, dbmodel.ErrNotFound) && sent.Name.Set {
			if err = dbmodel.AddProductGroup(ctx, tx, id); err == nil { // so that of two who make it at once none is lost
				g, err = dbmodel.ProductGroupForUpdate(ctx, tx, id)
			}
		}
		isNew := errors.Is(err, dbmodel.ErrNotFound)
		if err != nil && !isNew {
			return fmt.Errorf("load product group %d: %w", id, err)
		}
		faults := slices.Clone(found)
		name := g.Name
		sent.merge(id, isNew, &g.Name, &faults)
		if err := keepsStructure(v, name == g.Name); err != nil {
			return err
		}
		before := g.NotificationSettings
		sent.NotificationFields.merge(&g.NotificationSettings)
		contacts := sent.contacts(groupHolder(id))
		if err := s.mergeContacts(ctx, tx, &faults, contacts); err != nil {
			return err
		}
		if faults != nil {
			return invalid(faults...)
		}
		err = s.keepsTaken(ctx, tx, holderChange{groupHolder(id), name != g.Name, &before, &g.NotificationSettings, contacts})
		if err != nil {
			return err
		}
		if err := dbmodel.SaveProductGroup(ctx, tx, g); err != nil {
			return fmt.Errorf("store product group %d: %w", id, err)
		}
		if err := storeContacts(ctx, tx, contacts); err != nil {
			return err
		}
		out, err = s.productGroupOutput(ctx, tx, g)
		return err
	})
	return out, err
}

// merge puts id and name, as far as they were sent, into what is stored.
func (f *NamedFields) merge(id int64, isNew bool, name *string, faults *input.Faults) {
	const longest = 255
	if f.ID.Set && (f.ID.Empty || f.ID.Value != id) {
		faults.AddOnce("id", "must be the one of the path")
	}
	switch {
	case f.Name.Set && (f.Name.Empty || f.Name.Value == ""):
		faults.AddOnce("name", "must not be empty")
	case f.Name.Set && len([]rune(f.Name.Value)) > longest:
		faults.AddOnce("name", fmt.Sprintf("must have at most %d characters", longest))
	case f.Name.Set:
		*name = f.Name.Value
	case isNew:
		faults.AddOnce("name", "is required: this one is new")
	}
}

func (s *server) apiDeleteProductGroup(ctx context.Context, in *IDParam) (*struct{}, error) {
	if err := s.notTaken(ctx, s.db, groupHolder(in.ID), "The product group comes"); err != nil {
		return nil, err
	}
	if err := dbmodel.DeleteProductGroup(ctx, s.db, in.ID); err != nil {
		return nil, missing(err, "product group", in.ID)
	}
	s.log.Info().Str("user", viewerOf(ctx).Username).Int64("product_group", in.ID).Msg("a product group was deleted")
	s.unread.look()
	return nil, nil //nolint:nilnil // 204
}

func (s *server) productGroupOutput(ctx context.Context, db bun.IDB, g *dbmodel.ProductGroup) (*productGroupOutput, error) {
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

// missing makes 404 of ErrNotFound, and says of other errors what they are about.
func missing(err error, what string, id int64) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, dbmodel.ErrNotFound):
		return notFound(what)
	}
	return fmt.Errorf("%s %d: %w", what, id, err)
}
