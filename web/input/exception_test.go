package input

import (
	"encoding/json"
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
