package web

import (
	"context"
	"errors"
	"fmt"
	"slices"

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

// holderPut is a product or a product group that a call makes or changes.
type holderPut struct {
	holder   rule.Holder
	isNew    bool
	name     *string
	settings *dbmodel.NotificationSettings
	moved    bool                      // of a product: into another group, or out of one
	check    func(*input.Faults) error // checks what else was sent; nil: nothing was
	save     func() error

	contacts []*contactChange // putHolder fills it
}

// forUpdate locks the row of a product or a product group. With add it makes the row first where there is none: of two
// calls that make it at once, none is lost. isNew reports that there is no row.
func forUpdate[T any](
	ctx context.Context, tx bun.Tx, id int64, add bool,
	lock func(context.Context, bun.Tx, int64) (*T, error), insert func(context.Context, bun.Tx, int64) error,
) (row *T, isNew bool, err error) {
	row, err = lock(ctx, tx, id)
	if errors.Is(err, dbmodel.ErrNotFound) && add {
		if err = insert(ctx, tx, id); err == nil {
			row, err = lock(ctx, tx, id)
		}
	}
	if errors.Is(err, dbmodel.ErrNotFound) {
		return row, true, nil
	}
	return row, false, err
}

// putHolder merges what was sent into a product or a product group, and stores it with its contacts. It refuses faults
// that were found before together with its own.
func (s *server) putHolder(
	ctx context.Context, tx bun.Tx, p *holderPut, sent *NamedFields, found input.Faults,
) error {
	faults := slices.Clone(found)
	name, before := *p.name, *p.settings
	sent.merge(p.holder.ID, p.isNew, p.name, &faults)
	structure := p.moved || name != *p.name
	if err := keepsStructure(viewerOf(ctx), !structure); err != nil {
		return err // before p.check, which says whether there is such a group
	}
	if p.check != nil {
		if err := p.check(&faults); err != nil {
			return err
		}
	}
	sent.NotificationFields.merge(p.settings, &faults)
	contacts := sent.contacts(p.holder)
	if err := s.mergeContacts(ctx, tx, &faults, contacts); err != nil {
		return err
	}
	if faults != nil {
		return invalid(faults...)
	}
	if err := s.keepsTaken(ctx, tx, holderChange{p.holder, structure, &before, p.settings, contacts}); err != nil {
		return err
	}
	p.contacts = contacts
	if err := p.save(); err != nil {
		return err
	}
	return storeContacts(ctx, tx, contacts)
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

// mayEdit answers callers who may not change notification settings: 404 where they do not see whose settings these are,
// else 403.
func mayEdit(ctx context.Context, db bun.IDB, of memberSource, id int64) error {
	v := viewerOf(ctx)
	if v.Admin || v.Ingest {
		return nil
	}
	role, err := of.role(ctx, db, v, id)
	if err != nil {
		return missing(err, of.name, id)
	}
	return needs(role, rule.Maintainer)
}

// keepsStructure answers 403 where a member changes what only the web tier says.
func keepsStructure(v dbmodel.Viewer, same bool) error {
	if same || v.Admin || v.Ingest {
		return nil
	}
	return forbidden("Members change notification settings only, neither the name nor the product group.")
}

// equal reports whether both are nil, or the same.
func equal[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
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
