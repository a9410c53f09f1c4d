package input

import (
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
)

// int64Format is the format of whole numbers of 64 bits.
const int64Format = "int64"

// Schema implements huma.SchemaProvider.
func (f Field[T]) Schema(r huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString, Nullable: true}
	switch any(f.Value).(type) {
	case bool:
		s.Type = huma.TypeBoolean
	case OnlyTrue:
		s.Type = huma.TypeBoolean
	case int, int64:
		s.Type, s.Format = huma.TypeInteger, int64Format
	case time.Time:
		s.Format = "date-time"
	case rule.Severity:
		s.Enum = append(Enum(rule.Severities), "", nil)
	case rule.ParserType:
		s.Enum = append(Enum(rule.ParserTypes), "", nil)
	case []rule.Status:
		s.Type, s.Items = huma.TypeArray, WordSchema(rule.Statuses)
	case rule.Role:
		s.Enum, s.Nullable = Enum(rule.Roles), false
	case rule.Channel:
		s.Enum = append(Enum(rule.Channels), "", nil)
	case Object:
		s.Type, s.Nullable = huma.TypeObject, false
	case []rule.Severity:
		s.Type, s.Items = huma.TypeArray, WordSchema(rule.Severities)
	case rule.Type:
		s.Enum = append(Enum(rule.Types), "", nil)
	case rule.Event:
		s.Enum = append(Enum(rule.Events), "", nil)
	case []int64:
		s.Type, s.Items, s.MaxItems = huma.TypeArray, &huma.Schema{Type: huma.TypeInteger, Format: int64Format}, new(MaxIDs)
	case AnyTypes:
		s.Type, s.Items = huma.TypeArray, WordSchema(rule.Types)
	case []rule.Event:
		s.Type, s.Items = huma.TypeArray, WordSchema(rule.Events)
	case []rule.ParserType:
		s.Type, s.Items = huma.TypeArray, WordSchema(rule.ParserTypes)
	case ContactList:
		s.Type, s.Items, s.MaxItems = huma.TypeArray, contactSchema(r), new(MaxContacts)
	case []rule.Type:
		s.Type, s.Items = huma.TypeArray, WordSchema(rule.MemberTypes)
	}
	return s
}

// Schema implements huma.SchemaProvider.
func (f ID) Schema(r huma.Registry) *huma.Schema { return BoundID(f.Field.Schema(r)) }

// Schema implements huma.SchemaProvider.
func (f Priority) Schema(r huma.Registry) *huma.Schema {
	return Bound(f.Field.Schema(r), rule.MinPriority, rule.MaxPriority)
}

// BoundID bounds a number that is an id.
func BoundID(s *huma.Schema) *huma.Schema { return Bound(s, 1, accept.MaxID) }

// Bound bounds a number.
func Bound(s *huma.Schema, lowest, highest float64) *huma.Schema {
	s.Minimum, s.Maximum = &lowest, &highest
	return s
}

// WordSchema describes a text that is one of words.
func WordSchema[T ~string](words []T) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Enum: Enum(words)}
}

// Enum returns words as huma lists them.
func Enum[T ~string](words []T) []any {
	out := make([]any, len(words))
	for i, w := range words {
		out[i] = string(w)
	}
	return out
}
