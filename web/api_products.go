package web

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

type productFields struct {
	NamedFields
	ProductGroupID input.ID          `json:"product_group_id"`
	SecurityGate   input.Field[bool] `json:"security_gate_passed" doc:"May be sent back and changes nothing: PUT /products/{id}/security-gate does"`
}

type productAnswer struct {
	ID             int64  `json:"id"`
	Name           string `json:"name"`
	ProductGroupID *int64 `json:"product_group_id"`
	SecurityGate   *bool  `json:"security_gate_passed"`
	NotificationAnswer
}

// MarshalJSON implements json.Marshaler.
func (a productAnswer) MarshalJSON() ([]byte, error) {
	type withoutContacts productAnswer
	return a.contacts.marshal(withoutContacts(a))
}

type productOutput struct{ Body productAnswer }

type gateFields struct {
	Passed input.Must[bool] `json:"passed" doc:"null: the product has no gate"`
}

type gateOutput struct {
	Body struct {
		Changed bool `json:"changed"`
	}
}

func (s *server) apiListProducts(ctx context.Context, in *ListParams) (*listOutput[productAnswer], error) {
	after, err := idCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	products, err := dbmodel.Products(ctx, s.db.Reader, viewerOf(ctx), after, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list products: %w", err)
	}
	holders := make([]rule.Holder, len(products))
	for i := range products {
		holders[i] = productHolder(products[i].ID)
	}
	contacts, err := s.contactsOf(ctx, s.db.Reader, holders...)
	if err != nil {
		return nil, err
	}
	return pageOf(products, in.Limit, func(p *dbmodel.Product) productAnswer { return showProduct(p, contacts) },
		func(p *dbmodel.Product) string { return idCursorOf(p.ID) }), nil
}

func (s *server) apiGetProduct(ctx context.Context, in *IDParam) (*productOutput, error) {
	p, err := dbmodel.VisibleProductByID(ctx, s.db.Reader, viewerOf(ctx), in.ID)
	if err != nil {
		return nil, missing(err, "product", in.ID)
	}
	return s.productOutput(ctx, s.db.Reader, p)
}

func (s *server) apiPutProduct(ctx context.Context, in *IDParam) (*productOutput, error) {
	// Before the body, which may be large; putProduct asks again.
	if err := mayEdit(ctx, s.db.Reader, productMembers, in.ID); err != nil {
		return nil, err
	}
	var sent productFields
	found, err := readJSONFaults(ctx, &sent)
	if err != nil {
		return nil, err
	}
	return s.putProduct(ctx, in.ID, &sent, found)
}

// putProduct makes a product, or changes what was sent of it, where the caller may. It refuses faults that were found
// before together with its own.
func (s *server) putProduct(
	ctx context.Context, id int64, sent *productFields, found input.Faults,
) (out *productOutput, err error) {
	var put holderPut
	err = s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := mayEdit(ctx, tx, productMembers, id); err != nil {
			return err
		}
		p, isNew, err := forUpdate(ctx, tx, id, sent.Name.Set, dbmodel.ProductForUpdate, dbmodel.AddProduct)
		if err != nil {
			return fmt.Errorf("load product %d: %w", id, err)
		}
		group := p.ProductGroupID
		input.Apply(sent.ProductGroupID.Field, &p.ProductGroupID, nil, input.Pointer)
		put = holderPut{
			holder: productHolder(id), isNew: isNew, name: &p.Name, settings: &p.NotificationSettings,
			moved: !equal(group, p.ProductGroupID),
			check: func(faults *input.Faults) error { return knownGroup(ctx, tx, sent.ProductGroupID.Field, faults) },
			save: func() error {
				switch err := dbmodel.SaveProduct(ctx, tx, p); {
				case errors.Is(err, dbmodel.ErrConflict) && sent.ProductGroupID.Set: // the group was deleted in this moment
					return invalid(unknownGroup)
				case err != nil:
					return fmt.Errorf("store product %d: %w", id, err)
				}
				return nil
			},
		}
		err = s.putHolder(ctx, tx, &put, &sent.NamedFields, found)
		if err != nil {
			return err
		}
		out, err = s.productOutput(ctx, tx, p)
		return err
	})
	if err == nil && !viewerOf(ctx).Ingest {
		s.auditChange(ctx, "product_changed", id, sent, put.contacts)
	}
	return out, err
}

var unknownGroup = input.Fault{Location: "product_group_id", Message: "there is no such product group: create it first"}

// knownGroup adds a fault where the product group of a product does not exist.
func knownGroup(ctx context.Context, tx bun.Tx, id input.Field[int64], faults *input.Faults) error {
	if !id.Set || id.Empty {
		return nil
	}
	_, err := dbmodel.ProductGroupByID(ctx, tx, id.Value)
	if errors.Is(err, dbmodel.ErrNotFound) {
		faults.AddOnce(unknownGroup.Location, unknownGroup.Message)
		return nil
	}
	if err != nil {
		return fmt.Errorf("load product group %d: %w", id.Value, err)
	}
	return nil
}

func (s *server) apiDeleteProduct(ctx context.Context, in *IDParam) (*struct{}, error) {
	err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := s.notTaken(ctx, tx, productHolder(in.ID), "The product comes"); err != nil {
			return err
		}
		return dbmodel.DeleteProduct(ctx, tx, in.ID)
	})
	if err != nil {
		return nil, missing(err, "product", in.ID)
	}
	s.audit(ctx, "product_deleted").Int64("id", in.ID).Msg("a product was deleted")
	s.unread.look()
	s.removeDeleted(ctx)
	return nil, nil //nolint:nilnil // 204
}

// removeDeleted has a worker remove what was deleted and is hidden. Where this fails, the sweep does it a second later.
func (s *server) removeDeleted(ctx context.Context) {
	if err := s.queue.RequestRemoval(context.WithoutCancel(ctx), s.db); err != nil {
		s.log.Debug().Err(err).Msg("the removal of what was deleted waits for the sweep")
	}
}

func (s *server) apiPutSecurityGate(ctx context.Context, in *IDParam) (*gateOutput, error) {
	var sent gateFields
	if err := readJSON(ctx, &sent); err != nil {
		return nil, err
	}
	var passed *bool
	input.Apply(sent.Passed.Field, &passed, nil, input.Pointer)
	t, err := accept.NewSecurityGate(in.ID, passed)
	if err != nil {
		return nil, err
	}
	if err := s.notTaken(ctx, s.intake, productHolder(in.ID), "The security gate comes"); err != nil {
		return nil, err
	}
	accepted, err := s.acceptor.Accept(ctx, t)
	if err != nil {
		return nil, missing(err, "product", in.ID)
	}
	out := new(gateOutput)
	out.Body.Changed = accepted.GateChanged
	return out, nil
}

func (s *server) productOutput(ctx context.Context, db bun.IDB, p *dbmodel.Product) (*productOutput, error) {
	contacts, err := s.contactsOf(ctx, db, productHolder(p.ID))
	if err != nil {
		return nil, err
	}
	return &productOutput{showProduct(p, contacts)}, nil
}

func showProduct(p *dbmodel.Product, contacts holdersContacts) productAnswer {
	return productAnswer{
		ID: p.ID, Name: p.Name, ProductGroupID: p.ProductGroupID, SecurityGate: p.SecurityGatePassed,
		NotificationAnswer: showNotificationSettings(&p.NotificationSettings, productHolder(p.ID), contacts),
	}
}
