package input

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

// TestAnyArguments: all that a program reports as arguments becomes an object, and one within quotes is read: its secrets
// would not be found otherwise.
func TestAnyArguments(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`{"a": 1.50}`:                    `{"a":1.50}`,
		`"{\"token\": 1, \"a\": [2]}"`:   `{"a":[2],"token":1}`,
		`" {\"token\":1,\"token\":2}\n"`: `{"token":2}`,
		`"{token: 1}"`:                   `{"arguments":"{token: 1}"}`,
		`"{"`:                            `{"arguments":"{"}`,
		`"[1]"`:                          `{"arguments":"[1]"}`,
		`[{"token": 1}]`:                 `{"arguments":[{"token":1}]}`,
		`null`:                           `null`,
		`""`:                             `{"arguments":""}`,
	} {
		got, err := json.Marshal(anyArguments(jsontext.Value(value)))
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v%s", value, err, diff)
		}
	}
}

// TestLargeArguments: arguments that are too long to be kept are not held as they come, whatever they are made of, and what comes
// behind them is read.
func TestLargeArguments(t *testing.T) {
	const size = 32 << 20
	for name, c := range map[string]struct{ open, repeat, end string }{
		"names":   {`{`, `"a":1,`, `"a":1}`},
		"numbers": {`[`, `1,`, `1]`},
		"lists":   {`[`, `[{}],`, `[]]`},
		"texts":   {`{"a":[`, `"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", `, `""]}`},
		"depth":   {`[`, strings.Repeat("[", 50) + "1" + strings.Repeat("]", 50) + ",", "1]"},
	} {
		t.Run(name, func(t *testing.T) {
			body := io.MultiReader(
				strings.NewReader(`{"arguments": `+c.open), &repeated{text: c.repeat, left: size / len(c.repeat)},
				strings.NewReader(c.end+`, "class": "E", "message": {"a": [1, "b"]}}`))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			e, err := ReadTaskException(body)
			runtime.ReadMemStats(&after)
			if err != nil || e.Class != "E" || e.Message != `{"a":[1,"b"]}` {
				t.Fatalf("%.60q %q %v", e.Class, e.Message, err)
			}
			if got := fmt.Sprint(e.Arguments); got != "map[…:left out: the arguments had more than 256 KiB]" {
				t.Errorf("%.80s", got)
			}
			if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > size>>22 {
				t.Errorf("it took %d MiB", took)
			}
		})
	}
}

// repeated is a text again and again.
type repeated struct {
	text string
	left int // times
	rest string
}

// Read implements io.Reader.
func (r *repeated) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if r.rest == "" {
			if r.left == 0 {
				break
			}
			r.rest, r.left = r.text, r.left-1
		}
		copied := copy(p[n:], r.rest)
		n, r.rest = n+copied, r.rest[copied:]
	}
	if n == 0 {
		err = io.EOF
	}
	return n, err
}
