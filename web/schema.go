package web

import (
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// Words as the OpenAPI document lists them. Of parameters, huma refuses any other word.
type (
	severity          rule.Severity
	observationStatus rule.Status
	parserType        rule.ParserType
	notificationType  rule.Type
	notificationEvent rule.Event
	channelWord       rule.Channel
	memberRole        rule.Role
	contactHolder     rule.Source
	deliveryState     dbmodel.State
	eventKind         dbmodel.EventKind
	runStatus         dbmodel.RunStatus
	truth             string // true, false; empty: the parameter is left out

	optionalSeverity   rule.Severity   // may be empty
	optionalParserType rule.ParserType // may be empty
)

// Schema implements huma.SchemaProvider, as those below do.
func (severity) Schema(huma.Registry) *huma.Schema { return input.WordSchema(rule.Severities) }

func (observationStatus) Schema(huma.Registry) *huma.Schema { return input.WordSchema(rule.Statuses) }

func (parserType) Schema(huma.Registry) *huma.Schema { return input.WordSchema(rule.ParserTypes) }

func (notificationType) Schema(huma.Registry) *huma.Schema { return input.WordSchema(rule.Types) }

func (notificationEvent) Schema(huma.Registry) *huma.Schema { return input.WordSchema(rule.Events) }

func (channelWord) Schema(huma.Registry) *huma.Schema { return input.WordSchema(rule.Channels) }

func (memberRole) Schema(huma.Registry) *huma.Schema { return input.WordSchema(rule.Roles) }

func (contactHolder) Schema(huma.Registry) *huma.Schema {
	return input.WordSchema([]rule.Source{rule.FromProduct, rule.FromGroup, rule.FromSettings, rule.FromSubscription})
}

func (deliveryState) Schema(huma.Registry) *huma.Schema { return input.WordSchema(dbmodel.States) }

func (eventKind) Schema(huma.Registry) *huma.Schema { return input.WordSchema(dbmodel.EventKinds) }

func (runStatus) Schema(huma.Registry) *huma.Schema { return input.WordSchema(dbmodel.RunStatuses) }

func (optionalSeverity) Schema(huma.Registry) *huma.Schema {
	return input.WordSchema(append(slices.Clone(rule.Severities), ""))
}

func (optionalParserType) Schema(huma.Registry) *huma.Schema {
	return input.WordSchema(append(slices.Clone(rule.ParserTypes), ""))
}

func (truth) Schema(huma.Registry) *huma.Schema { return input.WordSchema([]truth{"true", "false"}) }

// wordTypes are the types that the document describes fields of other types as. A severity and a parser type that may
// not be empty have types of their own.
var wordTypes = map[reflect.Type]reflect.Type{
	reflect.TypeFor[rule.Severity]():   reflect.TypeFor[optionalSeverity](),
	reflect.TypeFor[rule.ParserType](): reflect.TypeFor[optionalParserType](),
	reflect.TypeFor[rule.Status]():     reflect.TypeFor[observationStatus](),
	reflect.TypeFor[rule.Type]():       reflect.TypeFor[notificationType](),
	reflect.TypeFor[rule.Event]():      reflect.TypeFor[notificationEvent](),
	reflect.TypeFor[rule.Channel]():    reflect.TypeFor[channelWord](),
	reflect.TypeFor[dbmodel.State]():   reflect.TypeFor[deliveryState](),
}

// nullable adds a schema to the registry, and returns one that allows null, too.
func nullable(r huma.Registry, name string, s *huma.Schema) *huma.Schema {
	r.Map()[name] = s
	return &huma.Schema{OneOf: []*huma.Schema{{Ref: componentRoot + name}, {Type: "null"}}}
}

// pointer returns nil where the parameter is left out.
func (t truth) pointer() *bool {
	if t == "" {
		return nil
	}
	return new(t == "true")
}

// wordsOf converts the values of a parameter that may come several times.
func wordsOf[T, P ~string](values []P) []T {
	out := make([]T, len(values))
	for i, v := range values {
		out[i] = T(v)
	}
	return out
}

// IDParam is the id in a path. It is exported because huma does not see embedded types that are not.
type IDParam struct {
	ID int64 `path:"id"`
}

// boundIDs bounds the parameters that are ids, by their names.
func boundIDs(params []*huma.Param) {
	for _, p := range params {
		if p.Name == "id" || strings.HasSuffix(p.Name, "_id") {
			input.BoundID(p.Schema)
			p.Schema.PrecomputeMessages()
		}
	}
}

// TransformSchema implements huma.SchemaTransformer: it adds the bounds that accept.ValidateObservation checks.
func (observationBody) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	for name, p := range s.Properties {
		switch {
		case name == "id" || name == "product_id":
			input.BoundID(p)
		case name == "priority":
			input.Bound(p, rule.MinPriority, rule.MaxPriority)
		case p.Type == huma.TypeString && p.Enum == nil:
			p.MaxLength = new(accept.MaxText)
		}
	}
	return s
}

// TransformSchema implements huma.SchemaTransformer.
func (observationsBody) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["observations"].MaxItems = new(accept.MaxObservations)
	return s
}
