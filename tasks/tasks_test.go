package tasks

import (
	"errors"
	"fmt"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
)

// filled returns a T with another value in each field, and all names of fields with their values.
func filled[T any](t *testing.T) (T, map[string]string) {
	t.Helper()
	var v T
	n := 0
	fill(t, reflect.ValueOf(&v).Elem(), &n)
	return v, leaves(reflect.ValueOf(v))
}

func fill(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(t, field, n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]any{"n": *n}))
	case reflect.String:
		v.SetString(fmt.Sprint(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n))
	default:
		t.Fatalf("a field of kind %s", v.Kind())
	}
}

// leaves returns the values of a struct by the path of their field.
func leaves(v reflect.Value) map[string]string {
	out := map[string]string{}
	for described, field := range v.Fields() {
		name := described.Name
		if field.Kind() == reflect.Struct {
			for inner, value := range leaves(field) {
				out[name+"."+inner] = value
			}
			continue
		}
		out[name] = fmt.Sprint(reflect.Indirect(field).Interface())
	}
	return out
}

func TestEveryFieldIsCarriedOver(t *testing.T) {
	t.Parallel()
	o, want := filled[Observation](t)
	if diff := cmp.Diff(want, leaves(reflect.ValueOf(dbmodel.Observation(o)))); diff != "" {
		t.Errorf("observation (-want +got):\n%s", diff)
	}
	x, want := filled[TaskExceptionInfo](t)
	if diff := cmp.Diff(want, leaves(reflect.ValueOf(x.internal()))); diff != "" {
		t.Errorf("exception (-want +got):\n%s", diff)
	}
}

func TestInvalidErrorNamesAllFaults(t *testing.T) {
	t.Parallel()
	_, err := NewObservations([]Observation{{ID: 1, ProductID: 0, Severity: "High", Status: "Open", ParserType: "SCA"}})
	if _, ok := errors.AsType[InvalidError](err); !ok {
		t.Fatalf("%T", err)
	}
	want := "observations[0].product_id: must be from 1 to 9007199254740991; observations[0].title: must not be empty"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	for _, empty := range []InvalidError{nil, {}} {
		if empty.Error() == "" {
			t.Error("an empty error has no text")
		}
	}
}

func TestNoTaskIsRefused(t *testing.T) {
	t.Parallel()
	for _, none := range []*Task{nil, {}} {
		if err := (&Client{}).Enqueue(t.Context(), none); !errors.Is(err, errNoTask) {
			t.Errorf("Enqueue: %v", err)
		}
		if err := (&Outbox{}).EnqueueTx(t.Context(), nil, none); !errors.Is(err, errNoTask) {
			t.Errorf("EnqueueTx: %v", err)
		}
	}
}

// TestImports keeps small what a web tier compiles with this package.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const ours = "github.com/seed91453169/tocsin"
	allowed := []string{"dbmodel", "dbmodel/migrations", "internal/accept", "internal/queue", "rule", "tasks"}
	modules := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		path, module, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name, own := strings.CutPrefix(path, ours+"/"); own && !slices.Contains(allowed, name) {
			t.Errorf("it brings %s", path)
		}
		if module != "" && module != ours {
			modules[module] = true
		}
		for _, unwanted := range []string{
			"github.com/jackc/pgx", "github.com/lib/pq", "modernc.org/", "github.com/uptrace/bun/dialect/sqlitedialect",
			"github.com/uptrace/bun/driver", "github.com/hibiken/asynqmon", "github.com/danielgtaylor/huma",
			"github.com/prometheus/", "github.com/alicebob/miniredis", "github.com/mailgun/", "github.com/wneessen/go-mail",
		} {
			if strings.HasPrefix(path, unwanted) {
				t.Errorf("it brings %s", path)
			}
		}
	}
	if len(modules) > maxModules {
		t.Errorf("it brings %d modules, at most %d are wanted: %v", len(modules), maxModules, modules)
	}
}

// maxModules is how many modules of others the package may bring.
const maxModules = 23
