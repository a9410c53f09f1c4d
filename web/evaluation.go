package web

import (
	"context"
	"fmt"
	"net/http"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

type evaluatedOutput struct {
	Body struct {
		Observations int `json:"observations" doc:"How many are evaluated again"`
	}
}

// apiEvaluateAll evaluates all observations of a product, or of the products of a group, again.
func (s *server) apiEvaluateAll(of memberSource) func(context.Context, *IDParam) (*evaluatedOutput, error) {
	return func(ctx context.Context, in *IDParam) (*evaluatedOutput, error) {
		out := new(evaluatedOutput)
		var err error
		out.Body.Observations, err = s.evaluateAll(ctx, of, in.ID)
		return out, err
	}
}

func (s *server) evaluateAll(ctx context.Context, of memberSource, id int64) (int, error) {
	v := viewerOf(ctx)
	role, err := of.role(ctx, s.db.Reader, v, id)
	if err != nil {
		return 0, missing(err, of.name, id)
	}
	if !v.Ingest {
		if err := needs(role, rule.Maintainer); err != nil {
			return 0, err
		}
	}
	products := []int64{id}
	if of.holder(id).Kind == rule.HolderGroup {
		if products, err = dbmodel.ProductIDsOfGroup(ctx, s.db.Reader, id); err != nil {
			return 0, fmt.Errorf("list the products of group %d: %w", id, err)
		}
	}
	n, err := s.acceptor.EvaluateAll(ctx, products)
	if err != nil {
		return 0, fmt.Errorf("evaluate the observations of %s %d again: %w", of.name, id, err)
	}
	return n, nil
}

// evaluateHolder is evaluateAll for the button on the page of a product or a product group.
func (s *server) evaluateHolder(k holderKind) pageHandler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := idInPath(r, k.noun())
		if err != nil {
			return err
		}
		n, err := s.evaluateAll(r.Context(), k.members(), id)
		if err != nil {
			return err
		}
		are := "are"
		if n == 1 {
			are = "is"
		}
		s.notice(r.Context(), fmt.Sprintf("%s %s being evaluated again. What is notified appears in the inbox.",
			plural(n, "observation", "observations"), are))
		s.redirect(w, r, k.path(id))
		return nil
	}
}

// evaluateWords is what the button says, where so many observations match that were not notified yet.
func evaluateWords(unnotified int) string {
	switch unnotified {
	case 0:
		return "Evaluate all again"
	case 1:
		return "Notify this one now"
	}
	return "Notify these " + number(unnotified) + " now"
}
