package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// resendAtOnce is how many deliveries one transaction makes wait again.
const resendAtOnce = 5_000

type resendFields struct {
	State input.Must[string] `json:"state" enum:"failed" nullable:"false"`
}

type resentOutput struct {
	Body struct {
		Resent int `json:"resent"`
	}
}

func (s *server) apiResendDelivery(ctx context.Context, in *IDParam) (*resentOutput, error) {
	var target int64
	err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		d, err := dbmodel.ResendableByID(ctx, tx, viewerOf(ctx), in.ID)
		if err != nil {
			return missing(err, "delivery", in.ID)
		}
		role := rule.Owner // what has no product is seen by administrators alone
		if d.ProductID != 0 {
			if role, err = dbmodel.RoleIn(ctx, tx, viewerOf(ctx), d.ProductID); err != nil {
				return missing(err, "delivery", in.ID)
			}
		}
		if err := needs(role, rule.Maintainer); err != nil {
			return err
		}
		switch {
		case d.State == dbmodel.Sent:
			return conflict("This delivery was sent.")
		case d.GoesTo == 0:
			return conflict("The webhook that this delivery went to is not set any more, and there is no other: set one first.")
		}
		target = d.GoesTo
		done, err := dbmodel.Resend(ctx, tx, d)
		if err == nil && !done {
			return conflict("This delivery was sent.")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.queue.Poke(ctx, []int64{target})
	out := new(resentOutput)
	out.Body.Resent = 1
	return out, nil
}

func conflict(detail string) *problem { return newProblem(http.StatusConflict, detail) }

func (s *server) apiResendDeliveries(ctx context.Context, _ *struct{}) (*resentOutput, error) {
	var sent resendFields
	if err := readJSON(ctx, &sent); err != nil {
		return nil, err
	}
	if sent.State.Value != string(dbmodel.Failed) {
		return nil, invalid(input.Fault{Location: "state", Message: "must be failed"})
	}
	return s.resendFailed(ctx, 0)
}

// resendFailed sends failed deliveries again that the caller may: those of one target or, where that is 0, all.
func (s *server) resendFailed(ctx context.Context, target int64) (*resentOutput, error) {
	out := new(resentOutput)
	var poke []int64
	for after := int64(0); ; {
		var resent int
		var targets []int64
		err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
			after, resent, targets, err = dbmodel.ResendFailed(ctx, tx, viewerOf(ctx), rule.Maintainer, target, after,
				resendAtOnce)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("resend failed deliveries: %w", err)
		}
		if after == 0 {
			break
		}
		out.Body.Resent += resent
		poke = append(poke, targets...)
	}
	slices.Sort(poke)
	s.queue.Poke(ctx, slices.Compact(poke))
	return out, nil
}
