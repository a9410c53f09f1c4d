package tocsin_test

import (
	"errors"
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// texts are the texts of the program, each in a line: its string constants, those that are added up as one, and its pages.
func texts(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	var text func(ast.Expr) string
	text = func(e ast.Expr) string {
		switch e := e.(type) {
		case *ast.BasicLit:
			if e.Kind == token.STRING {
				s, _ := strconv.Unquote(e.Value)
				return s
			}
		case *ast.BinaryExpr:
			if e.Op == token.ADD {
				return text(e.X) + text(e.Y)
			}
		}
		return ""
	}
	inspect(t, func(n ast.Node) bool {
		e, ok := n.(ast.Expr)
		if !ok {
			return true
		}
		s := text(e)
		all.WriteString(s + "\n")
		_, sum := e.(*ast.BinaryExpr)
		return !sum || s == ""
	})
	pages, err := filepath.Glob("web/templates/*.html")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, name := range pages {
		all.WriteString(read(t, name) + "\n")
	}
	return all.String()
}

// An error is the receiver, its status, a word of its own, and what that means.
var errorText = regexp.MustCompile(`^(?:… )?(the webhook|the mail server|Mailgun|the proxy on the way to the webhook)?(?:'s)? ?` +
	`(?:answered (?:[1-5]\d\d|[45]…)(?: \d\.\d\.\d)?(?: …)?)? ?(?:\((\w+)\))?:? ?(.*?)(?:\d\d\d\))?$`)

// TestDocsErrors: the errors and messages that the pages explain are texts of the program.
func TestDocsErrors(t *testing.T) {
	t.Parallel()
	known, found := texts(t), 0
	for page, heading := range map[string]string{
		"docs/channels.md": "| error |", "docs/symptoms.md": "| message |", "docs/recipients.md": "| passed over because |",
		"docs/secobserve.md": "| class |",
	} {
		in := false
		for line := range strings.Lines(read(t, page)) {
			if in = strings.HasPrefix(line, heading) || in && strings.HasPrefix(line, "|"); !in {
				continue
			}
			cell, _, _ := strings.Cut(line[1:], " | ")
			for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
				parts := errorText.FindStringSubmatch(span[1])
				for _, part := range append(parts[1:3], strings.Split(parts[3], " …")...) {
					found++
					for _, put := range []string{"the proxy on the way to ", "SecObserve"} { // before what has its own text
						part = strings.TrimPrefix(part, put)
					}
					if !strings.Contains(known, part) {
						t.Errorf("%s explains %q; no text of the program has %q", page, span[1], part)
					}
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d texts are compared", found)
	}
}

// TestDocsWords: what docs/symptoms.md names in italics is a word of the pages or of "tocsin check", and the log lines of
// docs/operations.md are logged.
func TestDocsWords(t *testing.T) {
	t.Parallel()
	known := texts(t)
	list := regexp.MustCompile(`[^*]\*([A-Za-z][^*?]*\??)\*[^*]`).FindAllStringSubmatch(read(t, "docs/symptoms.md"), -1)
	_, logged, _ := strings.Cut(read(t, "docs/operations.md"), "## Log lines\n")
	logged, _, _ = strings.Cut(logged, "\n## ")
	for _, line := range regexp.MustCompile("(?m)^- (`.*?):").FindAllStringSubmatch(logged, -1) {
		list = append(list, regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line[1], -1)...)
	}
	if len(list) < 15 {
		t.Fatalf("only %v", list)
	}
	for _, words := range list {
		for part := range strings.SplitSeq(strings.Join(strings.Fields(words[1]), " "), " … ") {
			if words[1] != "My flows" && !strings.Contains(known, part) { // of Power Automate
				t.Errorf("%q is no text of the program", words[1])
			}
		}
	}
}

// TestDocsMetrics: the metrics that the pages, the alert rules and the dashboard name are those of the program, and each of
// them is shown or alerted on.
func TestDocsMetrics(t *testing.T) {
	t.Parallel()
	defined := map[string]bool{}
	for _, name := range regexp.MustCompile(`(?m)^tocsin_[a-z_]+$`).FindAllString(texts(t), -1) {
		if !slices.Contains([]string{"tocsin_fold", "tocsin_known", "tocsin_oidc", "tocsin_session"}, name) { // functions of SQL, cookies
			defined[name] = false
		}
	}
	files, err := filepath.Glob("docs/*.md")
	if err != nil || len(defined) < 15 {
		t.Fatal(defined, err)
	}
	for _, file := range slices.Concat(files, []string{"README.md", "deploy/grafana/tocsin.json", "deploy/prometheus/alerts.yml", "deploy/prometheus/alerts_test.yml"}) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\btocsin_[a-z_]+`).FindAllString(string(text), -1) {
			if _, ok := defined[name]; !ok {
				name = regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(name, "")
			}
			if _, ok := defined[name]; !ok {
				t.Errorf("%s names the metric %s, which is not there", file, name)
			}
			defined[name] = defined[name] || strings.HasPrefix(file, "deploy/")
		}
	}
	for name, shown := range defined {
		if !shown {
			t.Errorf("neither the dashboard nor an alert has %s", name)
		}
	}
}

// TestDocsTests: the tests and benchmarks that the pages name are there.
func TestDocsTests(t *testing.T) {
	t.Parallel()
	var tests strings.Builder
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			tests.WriteString(read(t, path))
		}
		return err
	})
	pages, errPages := filepath.Glob("docs/*.md")
	if err := errors.Join(err, errPages); err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "CONTRIBUTING.md", "README.md", "SECURITY.md") {
		for _, name := range regexp.MustCompile(`\b(?:Test|Benchmark)[A-Z]\w+`).FindAllString(read(t, page), -1) {
			if !strings.Contains(tests.String(), "\nfunc "+name) {
				t.Errorf("%s names %s, which is not there", page, name)
			}
		}
	}
}
