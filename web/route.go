package web

import (
	"cmp"
	"context"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/seed91453169/tocsin/web/input"
)

const apiRoot = "/api/v1"

// callTime is how long a call may take in front of a database that stands still. An import takes as long as it takes.
const callTime = time.Minute

// call describes one call of the API, for the mux and for the OpenAPI document.
type call struct {
	id       string // of the operation
	summary  string
	tag      string
	status   int  // of a success; 0: 200, or 204 where there is no body
	body     any  // the zero value of the JSON body; nil: none
	optional bool // the body may be left out
	lines    bool // the body may come as application/x-ndjson, too
}

// newAPI returns the API without any calls. huma reads the parameters, writes answers and documents all; bodies are
// read by readJSON, whose faults name every field and repeat no value.
func newAPI(mux *http.ServeMux, cfg Config) huma.API {
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Tocsin", Version: cfg.Version, Description: "Notifications of a vulnerability-management application.",
			License: &huma.License{Name: "Apache License 2.0", Identifier: "Apache-2.0"},
		},
		Tags: tags,
		Components: &huma.Components{
			Schemas:         huma.NewMapRegistry("#/components/schemas/", schemaName),
			Responses:       map[string]*huma.Response{},
			SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}},
		},
		Security: []map[string][]string{{"token": {}}},
	}
	doc.Servers = []*huma.Server{{URL: cmp.Or(strings.TrimSuffix(cfg.BaseURL, "/"), "/")}}
	for t, described := range schemaTypes {
		doc.Components.Schemas.RegisterTypeAlias(t, described)
	}
	for status, text := range refusals {
		doc.Components.Responses[refusalName(status)] = refusal(doc.Components.Schemas, text)
	}
	return humago.New(mux, huma.Config{
		OpenAPI: doc, Formats: map[string]huma.Format{
			"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat,
		}, DefaultFormat: "application/json",
		RejectUnknownQueryParameters: true, Transformers: []huma.Transformer{fromHuma},
	})
}

// schemaName is the name of a type in the OpenAPI document.
func schemaName(t reflect.Type, hint string) string {
	return strings.NewReplacer("Answer", "", "OutputBody", "", "Inbox", "Notification").Replace(
		huma.DefaultSchemaNamer(t, hint))
}

// route adds a call for pattern, a method with a path below /api/v1. fail answers the errors of its handler.
func route[I, O any](s *server, pattern string, a access, handler func(context.Context, *I) (*O, error), c call) {
	method, path, _ := strings.Cut(pattern, " ")
	registry := s.api.OpenAPI().Components.Schemas
	op := huma.Operation{
		Method: method, Path: apiRoot + path, OperationID: c.id, Summary: c.summary, Tags: []string{c.tag},
		DefaultStatus: c.status, Description: accessWords[a], Middlewares: huma.Middlewares{allow(a)},
		Responses: refusalsOf(registry, method, path, a, c),
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		if c.lines {
			x := exchangeOf(ctx)
			x.body.takeLarge(ctx, mediaType(x.r), s.large)
		} else {
			limited, cancel := context.WithTimeout(ctx, callTime)
			defer cancel()
			ctx = limited
		}
		out, err := handler(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return out, nil
	})
	boundIDs(s.operation(method, path).Parameters)
	if c.body != nil { // after Register: huma would read the body itself
		s.operation(method, path).RequestBody = requestBodyOf(registry, c)
	}
}

// operation is a call in the OpenAPI document.
func (s *server) operation(method, path string) *huma.Operation {
	item := s.api.OpenAPI().Paths[apiRoot+path]
	switch method {
	case http.MethodGet:
		return item.Get
	case http.MethodDelete:
		return item.Delete
	case http.MethodPut:
		return item.Put
	case http.MethodPatch:
		return item.Patch
	default:
		return item.Post
	}
}

func requestBodyOf(registry huma.Registry, c call) *huma.RequestBody {
	t := reflect.TypeOf(c.body)
	schema := registry.Schema(t, true, c.id)
	if names, ok := input.RequiredFields(t); ok {
		registry.SchemaFromRef(schema.Ref).Required = names
	}
	content := map[string]*huma.MediaType{"application/json": {Schema: schema}}
	if c.lines {
		content[mediaNDJSON] = &huma.MediaType{Schema: &huma.Schema{
			Type: huma.TypeString, Description: "One observation a line, as in the list of application/json; " +
				"a line has at most 1 MiB. Lines are stored in chunks.",
		}}
	}
	return &huma.RequestBody{Required: !c.optional, Content: content}
}

// unknownCall answers for what is no call: 405 where the path is known with another method, else 404.
func unknownCall(mux *http.ServeMux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range []string{
			http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch,
			http.MethodDelete,
		} {
			probe := r.Clone(r.Context())
			probe.Method = method
			if _, pattern := mux.Handler(probe); strings.HasPrefix(pattern, method+" ") {
				allowed = append(allowed, method)
			}
		}
		if allowed == nil {
			refuse(w, newProblem(http.StatusNotFound, "There is no such call: /api/openapi.json lists what there is."))
			return
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		refuse(w, newProblem(http.StatusMethodNotAllowed,
			"This address knows other methods only: "+strings.Join(allowed, ", ")+"."))
	}
}
