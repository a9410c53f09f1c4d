package web

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/message"
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
	contactHolder     rule.SettingSource
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
	return input.WordSchema([]rule.SettingSource{
		rule.FromProduct, rule.FromGroup, rule.FromSettings, rule.FromSubscription,
	})
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

// schemaTypes are the types that the document describes fields of other types as. A severity and a parser type that may
// not be empty have types of their own.
var schemaTypes = map[reflect.Type]reflect.Type{
	reflect.TypeFor[rule.Severity]():   reflect.TypeFor[optionalSeverity](),
	reflect.TypeFor[rule.ParserType](): reflect.TypeFor[optionalParserType](),
	reflect.TypeFor[rule.Status]():     reflect.TypeFor[observationStatus](),
	reflect.TypeFor[rule.Type]():       reflect.TypeFor[notificationType](),
	reflect.TypeFor[rule.Event]():      reflect.TypeFor[notificationEvent](),
	reflect.TypeFor[rule.Channel]():    reflect.TypeFor[channelWord](),
	reflect.TypeFor[dbmodel.State]():   reflect.TypeFor[deliveryState](),

	reflect.TypeFor[dbmodel.Origin]():      reflect.TypeFor[originAnswer](),
	reflect.TypeFor[message.Product]():     reflect.TypeFor[inboxProduct](),
	reflect.TypeFor[message.Observation](): reflect.TypeFor[inboxObservation](),
	reflect.TypeFor[rule.Values]():         reflect.TypeFor[inboxValues](),
	reflect.TypeFor[message.State]():       reflect.TypeFor[inboxState](),
	reflect.TypeFor[dbmodel.Details]():     reflect.TypeFor[inboxFacts](),
	reflect.TypeFor[json.RawMessage]():     reflect.TypeFor[arguments](),
}

// filledWords describes the severity, and the parser type where there is one, of an observation, which are never empty.
func filledWords(r huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["severity"] = r.Schema(reflect.TypeFor[severity](), true, "")
	if s.Properties["parser_type"] != nil {
		s.Properties["parser_type"] = r.Schema(reflect.TypeFor[parserType](), true, "")
	}
	return s
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

// TransformSchema implements huma.SchemaTransformer: details may be left out, and there are the bounds that
// accept.ValidateObservation checks.
func (observationBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	details := r.SchemaFromRef(r.Schema(reflect.TypeFor[dbmodel.Details](), true, "").Ref).Properties
	for name, p := range filledWords(r, s).Properties {
		if p.Type == huma.TypeString {
			p.MaxLength = new(accept.MaxText)
			p.Nullable = details[name] != nil
		}
	}
	for _, name := range []string{"id", "product_id"} {
		input.BoundID(s.Properties[name])
	}
	input.Bound(s.Properties["priority"], rule.MinPriority, rule.MaxPriority)
	input.Bound(s.Properties["cvss_score"], 0, 10)
	input.Bound(s.Properties["epss_score"], 0, 1)
	s.Properties["title"].MinLength = new(1)
	s.Properties["product_id"].Description = "Of a product that exists"
	s.Properties["priority"].Description = "null: none"
	s.Properties["known_exploited"].Description = "null: not known"
	s.Required = slices.DeleteFunc(s.Required, func(name string) bool { return details[name] != nil })
	return s
}

// TransformSchema implements huma.SchemaTransformer.
func (observationsBody) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["observations"].MaxItems = new(accept.MaxObservations)
	return s
}
