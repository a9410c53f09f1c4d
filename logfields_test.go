package tocsin_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// logMethods are the methods of zerolog that take the name of a field.
var logMethods = []string{
	"AnErr", "Bool", "Bytes", "Dict", "Dur", "Float64", "Int", "Int64", "Ints64", "Str", "Stringer", "Strs", "Time",
}

// isAttribute reports whether a method is a function for attributes of spans, which are named like methods of zerolog.
func isAttribute(method *ast.SelectorExpr) bool {
	of, ok := method.X.(*ast.Ident)
	return ok && of.Name == "attribute"
}

// sources are the files of the program, without tests.
var sources = sync.OnceValues(func() (files []*ast.File, err error) {
	return files, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "bench", "tools", "examples", "torture", "testenv"}, d.Name()):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		files = append(files, file)
		return err
	})
})

// inspect visits the nodes of the program's syntax.
func inspect(t *testing.T, visit func(ast.Node) bool) {
	t.Helper()
	files, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		ast.Inspect(file, visit)
	}
}

// loggedFields are the names of the fields that the program logs, read from its source.
func loggedFields(t *testing.T) []string {
	t.Helper()
	names := map[string]bool{"level": true, "time": true, "message": true, "error": true} // which have methods of their own
	inspect(t, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 2 {
			method, isMethod := call.Fun.(*ast.SelectorExpr)
			name, isText := call.Args[0].(*ast.BasicLit)
			if isMethod && isText && name.Kind == token.STRING && slices.Contains(logMethods, method.Sel.Name) && !isAttribute(method) {
				text, _ := strconv.Unquote(name.Value)
				names[text] = true
			}
		}
		return true
	})
	var list []string
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// TestLogFields: docs/operations.md documents the fields of log lines, all of them and no others.
func TestLogFields(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(read(t, "docs/operations.md"), "## Fields of log lines\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(section, -1) {
		for _, name := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(row[1], -1) {
			documented = append(documented, name[1])
		}
	}
	slices.Sort(documented)
	logged := loggedFields(t)
	for _, name := range logged {
		if !slices.Contains(documented, name) {
			t.Errorf("%s is logged and not documented", name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(logged, name) {
			t.Errorf("%s is documented and not logged", name)
		}
	}
}
