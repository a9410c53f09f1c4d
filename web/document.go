package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

const documentPath = "/api/openapi.json"

// componentRoot begins the references to schemas.
const componentRoot = "#/components/schemas/"

// wordSchemas are the sets of words that have a schema of their own, so that a generator makes one type of each. One
// that may also be empty has another, whose name begins with Optional.
var wordSchemas = map[string][]any{
	"Severity":          input.Enum(rule.Severities),
	"ObservationStatus": input.Enum(rule.Statuses),
	"ParserType":        input.Enum(rule.ParserTypes),
	"NotificationType":  input.Enum(rule.Types),
	"MemberType":        input.Enum(rule.MemberTypes),
	"NotificationEvent": input.Enum(rule.Events),
	"Channel":           input.Enum(rule.Channels),
	"Role":              input.Enum(rule.Roles),
	"DeliveryState":     input.Enum(dbmodel.States),
	"EventKind":         input.Enum(dbmodel.EventKinds),
	"RunStatus":         input.Enum(dbmodel.RunStatuses),
}

// object is a part of the document.
type object = map[string]any

// documentOf is the OpenAPI document of an API as it is served. huma's own has what no OpenAPI document may have, and
// repeats lists of words at each field.
func documentOf(api *huma.OpenAPI) []byte {
	text, err := json.Marshal(api)
	if err != nil {
		panic(fmt.Sprintf("web: the OpenAPI document: %v", err)) // it is the same in every process
	}
	var doc object
	if err := json.Unmarshal(text, &doc); err != nil {
		panic(fmt.Sprintf("web: the OpenAPI document: %v", err))
	}
	r := refiner{schemas: object{}}
	doc = r.refine(doc).(object)
	schemas := doc["components"].(object)["schemas"].(object)
	maps.Copy(schemas, r.schemas)
	delete(schemas, "ErrorModel") // problem is in its place
	delete(schemas, "ErrorDetail")
	for name, s := range schemas {
		if !strings.HasSuffix(name, "Fields") && !strings.HasSuffix(name, "Body") {
			delete(s.(object), "additionalProperties") // a later version may answer more
		}
	}
	text, err = json.Marshal(doc)
	if err != nil {
		panic(fmt.Sprintf("web: the OpenAPI document: %v", err))
	}
	return text
}

// refiner collects the schemas of words.
type refiner struct{ schemas object }

// refine returns a part of the document as it is served.
func (r refiner) refine(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = r.refine(v[i])
		}
	case object:
		delete(v, "patternDescription") // of huma
		for key, part := range v {
			v[key] = r.refine(part)
		}
		return r.words(v)
	}
	return v
}

// words returns a schema that is a list of words as a reference to the schema of these words.
func (r refiner) words(schema object) object {
	list, ok := schema["enum"].([]any)
	if !ok {
		return schema
	}
	if slices.Equal(list, []any{"true", "false"}) { // a parameter
		return object{"type": "boolean"}
	}
	words := slices.DeleteFunc(slices.Clone(list), func(w any) bool { return w == nil || w == "" })
	name := ""
	for n, known := range wordSchemas {
		if slices.Equal(words, known) {
			name = n
		}
	}
	if name == "" {
		return schema
	}
	described := object{"type": "string", "enum": words}
	if slices.Contains(list, any("")) {
		name = "Optional" + name
		described = object{"type": "string", "enum": append(words, ""), "description": "Empty: none"}
	}
	r.schemas[name] = described
	out := object{"$ref": componentRoot + name}
	if types, ok := schema["type"].([]any); ok && slices.Contains(types, any("null")) {
		out = object{"oneOf": []any{out, object{"type": "null"}}}
	}
	if text, ok := schema["description"]; ok {
		out["description"] = text
	}
	return out
}

// showDocument serves the OpenAPI document.
func showDocument(text func() []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text()) // a client that has gone needs no answer
	}
}

// refusals are the answers that are no success, by status.
var refusals = map[int]string{
	http.StatusUnauthorized:          "No token or session, or one that is not valid",
	http.StatusForbidden:             "The caller may not do this",
	http.StatusNotFound:              "There is none, or the caller may not see it",
	http.StatusConflict:              "The present state does not allow it; what comes from SecObserve is changed there",
	http.StatusRequestEntityTooLarge: "The body is too large",
	http.StatusUnsupportedMediaType:  "The body has another media type",
	http.StatusUnprocessableEntity:   "Something is not valid, and nothing is stored: errors names each faulty field",
	http.StatusTooManyRequests:       "The caller does too much at once: Retry-After says when to try again",
	http.StatusServiceUnavailable:    "The database does not answer: Retry-After says when to try again",
}

// refusalsOf returns the answers of a call that are no success.
func refusalsOf(registry huma.Registry, method, path string, a access, c call) map[string]*huma.Response {
	statuses := []int{
		http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusTooManyRequests,
		http.StatusServiceUnavailable,
	}
	if a != everybody || method != http.MethodGet {
		statuses = append(statuses, http.StatusForbidden)
	}
	if strings.Contains(path, "{") || strings.Contains(c.id, "Members") {
		statuses = append(statuses, http.StatusNotFound)
	}
	if method != http.MethodGet {
		statuses = append(statuses, http.StatusConflict)
	}
	if c.body != nil {
		statuses = append(statuses, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	out := map[string]*huma.Response{"default": refusal(registry, "Anything else")}
	for _, status := range statuses {
		out[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/" + refusalName(status)}
	}
	return out
}

// refusalName is the name of an answer among the components of the document.
func refusalName(status int) string { return strings.ReplaceAll(http.StatusText(status), " ", "") }

func refusal(registry huma.Registry, text string) *huma.Response {
	return &huma.Response{Description: text, Content: map[string]*huma.MediaType{
		"application/problem+json": {Schema: registry.Schema(reflect.TypeFor[problem](), true, "Problem")},
	}}
}
