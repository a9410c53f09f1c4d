package web

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	referencePath = "/api/"
	callsPath     = referencePath + "calls/"
	typesPath     = referencePath + "types/"
)

// reference is the OpenAPI document, as far as its pages show it.
type reference struct {
	Info struct {
		Version string `json:"version"`
	} `json:"info"`
	Tags []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	} `json:"tags"`
	Paths      map[string]map[string]*referenceCall `json:"paths"`
	Components struct {
		Schemas   map[string]*referenceSchema  `json:"schemas"`
		Responses map[string]referenceResponse `json:"responses"`
	} `json:"components"`

	calls map[string]*referenceCall // by id
}

// readReference reads the OpenAPI document.
func readReference(text []byte) *reference {
	d := &reference{calls: map[string]*referenceCall{}}
	if err := json.Unmarshal(text, d); err != nil {
		panic(fmt.Sprintf("web: the OpenAPI document: %v", err)) // it is the same in every process
	}
	for path, methods := range d.Paths {
		for method, c := range methods {
			c.method, c.path = strings.ToUpper(method), path
			d.calls[c.ID] = c
		}
	}
	return d
}

type referenceCall struct {
	ID          string   `json:"operationId"`
	Summary     string   `json:"summary"`
	Description string   `json:"description"`
	Tags        []string `json:"tags"`
	Parameters  []struct {
		Name        string           `json:"name"`
		In          string           `json:"in"`
		Description string           `json:"description"`
		Required    bool             `json:"required"`
		Schema      *referenceSchema `json:"schema"`
	} `json:"parameters"`
	RequestBody *referenceResponse           `json:"requestBody"`
	Responses   map[string]referenceResponse `json:"responses"`

	method, path string
}

type referenceResponse struct {
	Ref         string `json:"$ref"`
	Description string `json:"description"`
	Content     map[string]struct {
		Schema *referenceSchema `json:"schema"`
	} `json:"content"`
}

type referenceSchema struct {
	Ref         string                      `json:"$ref"`
	Type        any                         `json:"type"` // a word, or several
	Format      string                      `json:"format"`
	Description string                      `json:"description"`
	Enum        []any                       `json:"enum"`
	Default     any                         `json:"default"`
	Properties  map[string]*referenceSchema `json:"properties"`
	Required    []string                    `json:"required"`
	Items       *referenceSchema            `json:"items"`
	OneOf       []*referenceSchema          `json:"oneOf"`
	Minimum     *float64                    `json:"minimum"`
	Maximum     *float64                    `json:"maximum"`
	MaxLength   *int                        `json:"maxLength"`
	MaxItems    *int                        `json:"maxItems"`
}

// shownPart is a part of a type as a page shows it: words, or a type with a page of its own.
type shownPart struct{ Words, Type string }

// shownField is a line of a table of fields or parameters.
type shownField struct {
	Name, In, About string
	Required        bool
	Type            []shownPart
}

// shownContent is a body, or the answer for one status.
type shownContent struct {
	Status, About, Media string
	Type                 []shownPart
}

// shownCall is a call in the list, or on a page of its own.
type shownCall struct {
	ID, Method, Path, Summary, About string
	Parameters                       []shownField
	Bodies, Answers                  []shownContent
}

// referencePages add pages that show the OpenAPI document text to people: all calls, each call, each type.
func (s *server) referencePages(mux *http.ServeMux, text func() []byte) {
	doc := sync.OnceValue(func() *reference { return readReference(text()) })
	page := func(pattern string, show func(r *http.Request) (view, bool)) {
		s.publicPage(mux, pattern, func(w http.ResponseWriter, r *http.Request) error {
			if who, _, err := s.callerOf(r); err == nil { // for the head of the page alone
				exchangeOf(r.Context()).caller = who
			}
			v, ok := show(r)
			if !ok {
				return notFound("page")
			}
			return s.render(w, r, v)
		})
	}
	page("GET "+referencePath+"{$}", func(*http.Request) (view, bool) { return doc().list(), true })
	page("GET "+callsPath+"{id}", func(r *http.Request) (view, bool) {
		c, ok := doc().calls[r.PathValue("id")]
		if !ok {
			return view{}, false
		}
		return view{template: "reference-call", title: c.Summary, data: doc().call(c)}, true
	})
	page("GET "+typesPath+"{name}", func(r *http.Request) (view, bool) {
		name := r.PathValue("name")
		schema, ok := doc().Components.Schemas[name]
		return view{template: "reference-type", title: name, data: struct {
			Name, About string
			Type        []shownPart
			Fields      []shownField
		}{name, aboutOf(schema), typeOf(schema), fieldsOf(schema)}}, ok
	})
}

// list shows all calls, by tag.
func (d *reference) list() view {
	type group struct {
		Name, About string
		Calls       []shownCall
	}
	var groups []group
	for _, tag := range d.Tags {
		g := group{Name: tag.Name, About: tag.Description}
		for _, c := range d.calls {
			if slices.Contains(c.Tags, tag.Name) {
				g.Calls = append(g.Calls, shownCall{ID: c.ID, Method: c.method, Path: c.path, Summary: c.Summary})
			}
		}
		slices.SortFunc(g.Calls, func(a, b shownCall) int {
			return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
		})
		groups = append(groups, g)
	}
	return view{template: "reference", title: "HTTP interface", data: struct {
		Version string
		Groups  []group
	}{d.Info.Version, groups}}
}

// call shows one call with all of its answers.
func (d *reference) call(c *referenceCall) shownCall {
	out := shownCall{ID: c.ID, Method: c.method, Path: c.path, Summary: c.Summary, About: c.Description}
	for _, p := range c.Parameters {
		out.Parameters = append(out.Parameters, shownField{p.Name, p.In, p.Description, p.Required, typeOf(p.Schema)})
	}
	if c.RequestBody != nil {
		out.Bodies = contentsOf("", *c.RequestBody)
	}
	for _, status := range slices.Sorted(maps.Keys(c.Responses)) {
		response := c.Responses[status]
		if response.Ref != "" {
			response = d.Components.Responses[referred(response.Ref)]
		}
		if status == "default" {
			status = "else"
		}
		out.Answers = append(out.Answers, contentsOf(status, response)...)
	}
	return out
}

func contentsOf(status string, r referenceResponse) []shownContent {
	if r.Content == nil {
		return []shownContent{{Status: status, About: r.Description}}
	}
	var out []shownContent
	for _, media := range slices.Sorted(maps.Keys(r.Content)) {
		schema := r.Content[media].Schema
		out = append(out, shownContent{status, cmp.Or(r.Description, aboutOf(schema)), media, typeOf(schema)})
	}
	return out
}

func referred(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }

func aboutOf(s *referenceSchema) string {
	if s == nil {
		return ""
	}
	return s.Description
}

func fieldsOf(s *referenceSchema) []shownField {
	if s == nil {
		return nil
	}
	var out []shownField
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		out = append(out, shownField{name, "", p.Description, slices.Contains(s.Required, name), typeOf(p)})
	}
	return out
}

// jsonWords are the types of JSON as pages name them.
var jsonWords = map[string]string{
	"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "object": "object",
	"array": "list", "null": "null",
}

// formatWords are more precise than the type is.
var formatWords = map[string]string{"date-time": "time", "date": "date", "binary": "stream"}

// typeOf describes a schema on one line.
func typeOf(s *referenceSchema) []shownPart {
	switch {
	case s == nil:
		return nil
	case s.Ref != "":
		return []shownPart{{Type: referred(s.Ref)}}
	case s.OneOf != nil:
		var out []shownPart
		for i, one := range s.OneOf {
			if i > 0 {
				out = append(out, shownPart{Words: " or "})
			}
			out = append(out, typeOf(one)...)
		}
		return out
	}
	var words []string
	switch t := s.Type.(type) {
	case string:
		words = []string{t}
	case []any:
		for _, w := range t {
			words = append(words, fmt.Sprint(w))
		}
	default:
		return []shownPart{{Words: "any value"}}
	}
	var out []shownPart
	for i, w := range words {
		if i > 0 {
			out = append(out, shownPart{Words: " or "})
		}
		out = append(out, shownPart{Words: cmp.Or(formatWords[s.Format], jsonWords[w])})
		if w == "null" {
			out[len(out)-1].Words = w
		}
		if w == "array" {
			out[len(out)-1].Words = "list of "
			out = append(out, typeOf(s.Items)...)
		}
		if i == 0 {
			out = append(out, shownPart{Words: boundsOf(s)})
		}
	}
	return out
}

// boundsOf says within which bounds a value must be, and which words it may be.
func boundsOf(s *referenceSchema) string {
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	var out string
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		out = ", " + number(*s.Minimum) + " to " + number(*s.Maximum)
	case s.MaxLength != nil:
		out = fmt.Sprintf(", at most %d characters", *s.MaxLength)
	case s.MaxItems != nil:
		out = fmt.Sprintf(", at most %d", *s.MaxItems)
	}
	for i, w := range s.Enum {
		if i == 0 {
			out += ": "
		} else {
			out += ", "
		}
		if out += fmt.Sprint(w); w == "" {
			out += "or empty"
		}
	}
	if s.Default != nil {
		out += fmt.Sprintf(", default %v", s.Default)
	}
	return out
}
