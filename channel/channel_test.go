package channel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

func TestBriefReason(t *testing.T) {
	t.Parallel()
	word := (&Answer{Status: 404, Body: "no_service"}).Err("no_service")
	for _, c := range []struct {
		err  *Error
		want string
	}{
		{word, "404 (no_service)"},
		{StatusError("Mailgun", 503), "503"},
		{NetworkError("the webhook", io.EOF), "the connection to the webhook broke off"},
		{&Error{Kind: Configuration, Status: "535", Reason: "it answered 535: the login was refused"}, "it answered 535: the login was refused"},
	} {
		if got := c.err.Brief(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	if want := "the webhook answered 404 (no_service): it does not exist (any more)"; word.Reason != want {
		t.Errorf("got %q, want %q", word.Reason, want)
	}
}

func TestErrorUnwraps(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("deliver: %w", &Error{Kind: Permanent, Reason: "no", Err: ErrNotPublic})
	if !errors.Is(err, ErrNotPublic) || err.Error() != "deliver: no" {
		t.Error(err)
	}
}
