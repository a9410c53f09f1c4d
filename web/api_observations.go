package web

import (
	"context"
	"fmt"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// observationAnswer is an observation as it is stored; it may be sent back.
type observationAnswer struct{ dbmodel.Observation }

// TransformSchema implements huma.SchemaTransformer.
func (observationAnswer) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return filledWords(r, s)
}

type observationOutput struct{ Body observationAnswer }

// observationParams are the filters of the list.
type observationParams struct {
	ListParams
	ProductID int64               `query:"product_id"`
	Severity  []severity          `query:"severity,explode" doc:"Several: one of them"`
	Status    []observationStatus `query:"status,explode" doc:"Several: one of them"`
	Notified  truth               `query:"notified" doc:"Whether something is remembered of it"`
}

// reportParams says how observations are reported.
type reportParams struct {
	Baseline truth `query:"baseline" doc:"true: what matches is remembered, and nothing is notified; for the first import of an existing installation"`
}

type receivedOutput struct{ Body accept.Accepted }

// observationsBody documents the body that input.ReadObservations reads.
type observationsBody struct {
	Observations []observationBody `json:"observations" nullable:"false"`
}

type observationBody struct{ dbmodel.Observation }

// originAnswer is an origin: a text, or an object.
type originAnswer dbmodel.Origin

// Schema implements huma.SchemaProvider.
func (originAnswer) Schema(r huma.Registry) *huma.Schema {
	part := &huma.Schema{Type: huma.TypeString}
	return nullable(r, "Origin", &huma.Schema{Description: "Where the finding was made", OneOf: []*huma.Schema{
		{Type: huma.TypeString},
		{
			Type: huma.TypeObject, AdditionalProperties: false,
			Properties: map[string]*huma.Schema{"component": part, "image": part, "file": part, "endpoint": part},
		},
	}})
}

func (s *server) apiPostObservations(ctx context.Context, in *reportParams) (*receivedOutput, error) {
	r, baseline := exchangeOf(ctx).r, in.Baseline == "true"
	media := mediaType(r)
	if media == mediaNDJSON {
		received, err := s.importLines(ctx, r.Body, baseline)
		return &receivedOutput{received}, err
	}
	if !isJSON(media) {
		return nil, wrongMediaType("application/json or " + mediaNDJSON)
	}
	list, err := input.ReadObservations(r.Body)
	if err != nil {
		return nil, err
	}
	t, err := accept.NewObservations(list)
	if err != nil {
		return nil, err
	}
	if baseline {
		t.Baseline()
	}
	if err := s.keepsTakenObservations(ctx, s.intake, list); err != nil {
		return nil, err
	}
	received, err := s.acceptor.Accept(ctx, t)
	return &receivedOutput{received}, err
}

func (s *server) apiGetObservation(ctx context.Context, in *IDParam) (*observationOutput, error) {
	o, err := dbmodel.VisibleObservationByID(ctx, s.db.Reader, viewerOf(ctx), in.ID)
	if err != nil {
		return nil, missing(err, "observation", in.ID)
	}
	return &observationOutput{showObservation(o)}, nil
}

func showObservation(o *dbmodel.StoredObservation) observationAnswer {
	return observationAnswer{o.Observation}
}

func (s *server) apiListObservations(
	ctx context.Context, in *observationParams,
) (*listOutput[observationAnswer], error) {
	after, err := idCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	wanted := dbmodel.ObservationSearch{
		ProductID: in.ProductID, Severities: wordsOf[rule.Severity](in.Severity), Statuses: wordsOf[rule.Status](in.Status),
		Notified: in.Notified.pointer(), After: after,
	}
	var list []dbmodel.StoredObservation
	err = s.list(ctx, wanted.Unindexed(), func(ctx context.Context) (err error) {
		list, err = dbmodel.SearchObservations(ctx, s.db.Reader, viewerOf(ctx), wanted, in.Limit+1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list observations: %w", err)
	}
	return pageOf(list, in.Limit, showObservation, func(o *dbmodel.StoredObservation) string {
		return idCursorOf(o.ID)
	}), nil
}

func (s *server) apiDeleteObservation(ctx context.Context, in *IDParam) (*struct{}, error) {
	o, err := dbmodel.ObservationByID(ctx, s.db, in.ID)
	if err != nil {
		return nil, missing(err, "observation", in.ID)
	}
	if err := s.notTaken(ctx, s.db, productHolder(o.ProductID), "The observation comes"); err != nil {
		return nil, err
	}
	if err := dbmodel.DeleteObservation(ctx, s.db, in.ID); err != nil {
		return nil, missing(err, "observation", in.ID)
	}
	s.audit(ctx, "observation_deleted").Int64("id", in.ID).Msg("an observation was deleted")
	return nil, nil //nolint:nilnil // 204
}

func (s *server) apiEvaluateObservation(ctx context.Context, in *IDParam) (*struct{}, error) {
	if err := s.mayEvaluate(ctx, in.ID); err != nil {
		return nil, err
	}
	t, err := accept.NewEvaluation(in.ID)
	return nil, missing(s.accept(ctx, t, err), "observation", in.ID)
}

// mayEvaluate answers 404 to callers who do not see the observation, and 403 to those who only see it.
func (s *server) mayEvaluate(ctx context.Context, id int64) error {
	v := viewerOf(ctx)
	if v.Ingest {
		return nil
	}
	o, err := dbmodel.VisibleObservationByID(ctx, s.db.Reader, v, id)
	if err != nil {
		return missing(err, "observation", id)
	}
	role, err := dbmodel.RoleIn(ctx, s.db.Reader, v, o.ProductID)
	if err != nil {
		return missing(err, "observation", id)
	}
	return needs(role, rule.Maintainer)
}
