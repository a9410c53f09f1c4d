package web_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/internal/testenv/node"
	"github.com/seed91453169/tocsin/web"
)

var updateDocument = flag.Bool("update", false, "write client/openapi.json, from which the Go client is generated")

// keptDocument is the OpenAPI document of this version, from which the Go client is generated.
const keptDocument = "../client/openapi.json"

// TestDocumentIsKept: the document that is served is the one in the repository, but for version and address.
func TestDocumentIsKept(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	doc := e.want(200, "GET", "/api/openapi.json", nil, "Authorization", "").json
	doc["servers"] = []any{map[string]any{"url": "/"}}
	doc["info"].(map[string]any)["version"] = "1"
	got, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *updateDocument {
		if err := os.WriteFile(keptDocument, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(keptDocument)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(kept)), string(got)); diff != "" {
		t.Errorf("the document has changed; \"make generate\" writes it, and the Go client:\n%.4000s", diff)
	}
}

// TestGeneratorsTakeDocument: Redocly finds no fault in the document, and TypeScript compiles what openapi-typescript
// makes of it. "make openapi" has the generators for Go make code of it, too.
func TestGeneratorsTakeDocument(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	document, err := filepath.Abs(keptDocument)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"redocly", "lint", "--format=stylish", "--max-problems=20", document},
		{"openapi-typescript", document, "--output", "api.ts"},
		{"tsc", "--strict", "--noEmit", "--skipLibCheck", "api.ts"}, // the libraries are those of TypeScript
	} {
		if out, err := node.Run(t, dir, args...); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}

// documented returns the statuses that the document names for each call, by method and path.
func documented(t testing.TB, e *env) map[string]map[string]bool {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			Responses map[string]any `json:"responses"`
		} `json:"paths"`
	}
	r := e.want(200, http.MethodGet, "/api/openapi.json", nil)
	if err := json.Unmarshal([]byte(r.text), &doc); err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]bool{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			statuses := map[string]bool{}
			for status := range op.Responses {
				statuses[status] = true
			}
			out[strings.ToUpper(method)+" "+path] = statuses
		}
	}
	return out
}

// TestStatusesAreDocumented: every status of the matrix is in the document, by its number.
func TestStatusesAreDocumented(t *testing.T) {
	t.Parallel()
	known := documented(t, newSQLiteEnv(t))
	for _, row := range matrix {
		call := matrixCall(row)
		for _, status := range row.want {
			if !known[call][fmt.Sprint(status)] {
				t.Errorf("%s answers %d, which is not documented", call, status)
			}
		}
	}
}

// TestReference follows all links of the pages that show the document: each call and each type that one of them names.
func TestReference(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.SQLiteDB(t), func(c *web.Config) { c.BaseURL = "https://tocsin.example/path" })
	seen, next := map[string]bool{"/api/": true}, []string{"/api/"}
	for len(next) > 0 {
		page := e.want(200, "GET", next[0], nil, "Authorization", "").text
		next = next[1:]
		for _, link := range strings.Split(page, `href="/path/api/`)[1:] {
			link, _, _ := strings.Cut(link, `"`)
			if link = "/api/" + link; !seen[link] && link != "/api/openapi.json" {
				seen[link] = true
				next = append(next, link)
			}
		}
	}
	all, _ := calls()
	found := 0
	for link := range seen {
		if strings.HasPrefix(link, "/api/calls/") {
			found++
		}
	}
	if found != len(all) || !seen["/api/types/Severity"] || !seen["/api/types/Problem"] || !seen["/api/types/ContactFields"] {
		t.Errorf("%d of %d calls have a page; %v", found, len(all), seen)
	}
	page := e.want(200, "GET", "/api/types/ObservationBody", nil, "Authorization", "").text
	for _, want := range []string{"whole number, 1 to 99 or null", `<a href="/path/api/types/Severity">Severity</a>`, "text, at most 10000 characters"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s:\n%s", want, page)
		}
	}
}
