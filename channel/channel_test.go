package channel

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestSecretNeverPrints(t *testing.T) {
	t.Parallel()
	target := Target{Channel: "slack", Address: "https://hooks.slack.com/s3cr3t"}
	asJSON, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{
		string(asJSON), fmt.Sprint(target), fmt.Sprintf("%+v %#v %s %q", target, target, target.Address, target.Address),
	} {
		if strings.Contains(printed, "s3cr3t") || !strings.Contains(printed, "[redacted]") {
			t.Error(printed)
		}
	}
	if target.Address.Reveal() != "https://hooks.slack.com/s3cr3t" {
		t.Error("Reveal does not")
	}
}

func TestErrorUnwraps(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("deliver: %w", &Error{Kind: Permanent, Reason: "no", Err: ErrNotPublic})
	if !errors.Is(err, ErrNotPublic) || err.Error() != "deliver: no" {
		t.Error(err)
	}
}
