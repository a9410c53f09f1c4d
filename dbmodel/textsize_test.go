package dbmodel

import (
	"reflect"
	"testing"
)

// Each text of an observation counts, but for severity, status and parser type, which are short words.
func TestTextSize(t *testing.T) {
	t.Parallel()
	var o Observation
	want := 0
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		for _, f := range v.Fields() {
			switch {
			case f.Kind() == reflect.Struct:
				fill(f)
			case f.Type() == reflect.TypeFor[string]():
				f.SetString("seven b")
				want += 7
			}
		}
	}
	fill(reflect.ValueOf(&o).Elem())
	if got := o.TextSize(); got != want || want == 0 {
		t.Errorf("%d bytes, want %d", got, want)
	}
}
