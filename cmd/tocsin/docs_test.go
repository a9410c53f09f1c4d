package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/alecthomas/kong"

	"github.com/seed91453169/tocsin/config"
)

// manual reads README.md and docs, by their paths in the repository.
func manual(t *testing.T) map[string]string {
	t.Helper()
	const root = "../.."
	names, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(names) == 0 {
		t.Fatalf("no docs: %v", err)
	}
	pages := map[string]string{}
	for _, name := range append(names, root+"/README.md", root+"/CONTRIBUTING.md", root+"/SECURITY.md", root+"/CHANGELOG.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		pages[strings.TrimPrefix(name, root+"/")] = string(text)
	}
	return pages
}

var fence = regexp.MustCompile("(?ms)^ *```.*?^ *```")

// anchors are the places that a link may lead to, as GitHub names them.
func anchors(page string) []string {
	var all []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, heading[1]))
	}
	return all
}

// TestDocsLinks follows the links between the pages, and those to files.
func TestDocsLinks(t *testing.T) {
	t.Parallel()
	pages := manual(t)
	linked := map[string]bool{"README.md": true, "CHANGELOG.md": true}
	for name, page := range pages {
		for _, link := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(link[1], "#")
			to := name
			if file != "" {
				to = filepath.Join(filepath.Dir(name), file)
			}
			if _, err := os.Stat("../../" + to); err != nil {
				t.Errorf("%s links to %s, which is not there", name, link[1])
			}
			if anchor != "" && !slices.Contains(anchors(pages[to]), anchor) {
				t.Errorf("%s links to %s; %s has no such heading", name, link[1], to)
			}
			linked[to] = linked[to] || name == "README.md"
		}
	}
	for name := range pages {
		if !linked[name] {
			t.Errorf("README.md does not link to %s", name)
		}
	}
}

// TestDocsCommands: what the pages run is a command with such flags, and docs/operations.md lists all commands.
func TestDocsCommands(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&commands{}, kong.Name("tocsin"))
	if err != nil {
		t.Fatal(err)
	}
	pages := manual(t)
	call := regexp.MustCompile("(?m)(?:^ *|[`\"(]|[;&] )(?:\\./)?tocsin((?: [-a-zA-Z0-9=]+)+)")
	for name, page := range pages {
		if name == "CHANGELOG.md" {
			continue // it names other versions, too
		}
		code := strings.Join(regexp.MustCompile("(?s)```sh\n.*?```|`[^`\n]+`").FindAllString(page, -1), "\n")
		for _, words := range call.FindAllStringSubmatch(code, -1) {
			checkCall(t, name, parser.Model.Node, strings.Fields(words[1]))
		}
	}

	_, section, _ := strings.Cut(pages["docs/operations.md"], "## Commands\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var listed []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]*) \|`).FindAllStringSubmatch(section, -1) {
		for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			words := strings.Fields(span[1])
			if end := slices.IndexFunc(words, func(w string) bool { return !unicode.IsLower(rune(w[0])) }); end >= 0 {
				words = words[:end]
			}
			listed = append(listed, strings.Join(words, " "))
		}
	}
	for _, leaf := range parser.Model.Leaves(true) {
		if path := strings.TrimPrefix(leaf.Path(), "tocsin "); !slices.Contains(listed, path) {
			t.Errorf("docs/operations.md does not list the command %q", path)
		}
	}
	for _, path := range listed {
		checkCall(t, "docs/operations.md", parser.Model.Node, strings.Fields(path))
	}
}

// checkCall follows the words of a command line down from a node.
func checkCall(t *testing.T, page string, node *kong.Node, words []string) {
	t.Helper()
	for _, word := range words {
		flag, isFlag := strings.CutPrefix(word, "--")
		child := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word })
		switch {
		case isFlag:
			flag, _, _ = strings.Cut(flag, "=")
			if !slices.ContainsFunc(node.Flags, func(f *kong.Flag) bool { return f.Name == flag }) {
				t.Errorf("%s: tocsin %s: there is no --%s", page, strings.Join(words, " "), flag)
			}
		case child >= 0:
			node = node.Children[child]
		case len(node.Children) > 0:
			t.Errorf("%s: tocsin %s: there is no %q", page, strings.Join(words, " "), word)
			return
		}
	}
}

// TestDocsVariables: docs/settings.md lists all variables, and the pages name no others.
func TestDocsVariables(t *testing.T) {
	t.Parallel()
	pages := manual(t)
	known := map[string]bool{}
	for _, v := range config.Variables() {
		known[v.Name] = true
	}
	_, section, _ := strings.Cut(pages["docs/settings.md"], "## Of the environment\n")
	var listed []string
	for _, row := range regexp.MustCompile(`(?m)^\| (`+"`"+`[A-Z][^|]*) \|`).FindAllStringSubmatch(section, -1) {
		for _, span := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(row[1], -1) {
			listed = append(listed, span[1])
		}
	}
	for name := range known {
		if n := len(slices.DeleteFunc(slices.Clone(listed), func(l string) bool { return l != name })); n != 1 {
			t.Errorf("docs/settings.md lists %s %d times", name, n)
		}
	}
	for _, name := range listed {
		if !known[name] {
			t.Errorf("docs/settings.md lists %s, which config does not read", name)
		}
	}
	for name, page := range pages {
		if name == "CONTRIBUTING.md" || name == "CHANGELOG.md" {
			continue // what only tests read, and what was once
		}
		for _, variable := range regexp.MustCompile(`\bTOCSIN_[A-Z_]+`).FindAllString(page, -1) {
			if example := variable == "TOCSIN_URL" || variable == "TOCSIN_TOKEN"; !example && !known[strings.TrimSuffix(variable, "_FILE")] {
				t.Errorf("%s names %s, which config does not read", name, variable)
			}
		}
	}
}

// TestDocsInterface: the settings, fields and calls that the pages name are those of the OpenAPI document.
func TestDocsInterface(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../client/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	document := string(text)
	var calls []*regexp.Regexp
	for _, path := range regexp.MustCompile(`"(/api/v1/[^"]*)": ?\{`).FindAllStringSubmatch(document, -1) {
		calls = append(calls, regexp.MustCompile("^"+regexp.MustCompile(`\\\{\w+\\\}`).ReplaceAllString(regexp.QuoteMeta(path[1]), "[^/]+")+"$"))
	}
	if len(calls) == 0 {
		t.Fatal("the document has no calls")
	}
	pages := manual(t)
	_, logged, _ := strings.Cut(pages["docs/operations.md"], "## Who did what\n") // with names of its own
	delete(pages, "CHANGELOG.md")
	delete(pages, "docs/architecture.md") // it names what is inside
	for name, page := range pages {
		code := strings.Join(regexp.MustCompile("(?s)```sh\n.*?```|`[^`\n]+`").FindAllString(page, -1), "\n")
		for _, word := range regexp.MustCompile(`\b(?:observation|notification|exception|delivery|digest|member|cleanup|email|product)_[a-z_]+\b`).FindAllString(code, -1) {
			if !strings.Contains(document, `"`+word+`"`) && !strings.Contains(logged, "`"+word+"`") {
				t.Errorf("%s names %s, which the interface does not have", name, word)
			}
		}
		for _, call := range regexp.MustCompile(`(?:(GET|PUT|POST|PATCH|DELETE) |/api/v1)(/[a-z][-a-z0-9/{}]*[a-z}])`).FindAllStringSubmatch(code, -1) {
			path := "/api/v1" + strings.TrimPrefix(call[2], "/api/v1")
			if path != "/api/v1/api/v" && !slices.ContainsFunc(calls, func(c *regexp.Regexp) bool { return c.MatchString(path) }) {
				t.Errorf("%s names the call %s, which the interface does not have", name, call[0])
			}
		}
	}

	listed := pages["docs/settings.md"]
	for _, schema := range []string{"SettingsFields", "ProductFields"} {
		_, fields, found := strings.Cut(document, `"`+schema+`"`)
		if fields, _, _ = strings.Cut(fields, `"type": "object"`); !found {
			t.Fatalf("the document has no %s", schema)
		}
		for _, field := range regexp.MustCompile(`(?m)"(\w+)": ?\{`).FindAllStringSubmatch(fields, -1) {
			switch field[1] {
			case "properties", "items", "id", "name", "product_group_id", "security_gate_passed":
			default:
				if !strings.Contains(listed, "`"+field[1]+"`") {
					t.Errorf("docs/settings.md lacks %s", field[1])
				}
			}
		}
	}
}
