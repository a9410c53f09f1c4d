package webhook_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/channeltest"
	"github.com/seed91453169/tocsin/channel/webhook"
)

var receiver = channeltest.HTTP{
	New: func(_ *testing.T, base string) (channel.Sender, channel.Target) {
		return webhook.New(channel.NewHTTPClient(channeltest.Loopback)), channel.Target{
			Channel: "webhook", Address: channel.Secret(base + "/hooks/" + channeltest.Secret),
		}
	},
	Status: http.StatusNoContent, Shorter: []int{400, 413}, Gone: true,
}

func TestSuite(t *testing.T) {
	t.Parallel()
	receiver.Suite().Run(t)
}

func TestNotPublic(t *testing.T) {
	t.Parallel()
	sender, to := webhook.New(channel.NewHTTPClient(nil)), channel.Target{Address: "https://127.0.0.1/hooks/" + channeltest.Secret}
	channeltest.Check(t, sender.Send(t.Context(), to, channeltest.Message("x")),
		channeltest.Want{Kind: channel.Permanent, Says: "TOCSIN_WEBHOOK_ALLOWED_NETWORKS"})
	to.Address = "::not a url " + channeltest.Secret
	channeltest.Check(t, sender.Send(t.Context(), to, channeltest.Message("x")), channeltest.Want{Kind: channel.Permanent, Says: "not a valid URL"})
}

// inspect returns a sender, and what its receiver was sent.
func inspect(t *testing.T) (send func(*channel.Message) (http.Header, string)) {
	t.Helper()
	var (
		mu     sync.Mutex
		header http.Header
		body   []byte
	)
	sender, to := receiver.Handler(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		header = r.Header
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusNoContent)
	})(t)
	return func(m *channel.Message) (http.Header, string) {
		t.Helper()
		if err := sender.Send(t.Context(), to, m); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		return header, string(body)
	}
}

func signed(secret channel.Secret, h http.Header, body string) channeltest.Signed {
	out := channeltest.Signed{Secret: secret.Reveal(), Body: body, Headers: map[string]string{}}
	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		out.Headers[name] = h.Get(name)
	}
	return out
}

// TestSigned has another implementation verify what is sent, with each of two secrets, and with every title.
func TestSigned(t *testing.T) {
	t.Parallel()
	send := inspect(t)
	requests := map[string]channeltest.Signed{}
	for i, title := range channeltest.Titles {
		m := channeltest.Message(title)
		header, body := send(m)
		requests[fmt.Sprintf("title %02d", i)] = signed(m.Secrets[0], header, body)
		if !json.Valid([]byte(body)) {
			t.Errorf("title %d: no JSON: %s", i, body)
		}
	}
	m := channeltest.Message("x")
	m.Secrets = []channel.Secret{webhook.NewSecret(), webhook.NewSecret()}
	header, body := send(m)
	requests["new secret"], requests["old secret"] = signed(m.Secrets[0], header, body), signed(m.Secrets[1], header, body)
	channeltest.ValidateSigned(t, requests)
}

func TestRequest(t *testing.T) {
	t.Parallel()
	send := inspect(t)
	m := channeltest.Message("x")
	m.Notifications = []json.RawMessage{json.RawMessage(`{"id": 1, "name": "<&>"}`), json.RawMessage(`{"id": 9007199254740993}`)}
	m.At = time.Date(2026, 11, 28, 10, 30, 0, 0, time.FixedZone("", 3600))
	header, body := send(m)
	want := `{"type":"notifications","timestamp":"2026-11-28T09:30:00Z","data":{"notifications":[{"id":1,"name":"<&>"},{"id":9007199254740993}]}}`
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if got := header.Get("webhook-id"); got != m.ID {
		t.Errorf("webhook-id %q, want %q", got, m.ID)
	}
	if got := header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	at, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	if age := time.Since(time.Unix(at, 0)); err != nil || age < -time.Second || age > time.Minute {
		t.Errorf("webhook-timestamp %q", header.Get("webhook-timestamp"))
	}
	if got := header.Get("webhook-signature"); !strings.HasPrefix(got, "v1,") || strings.Contains(got, " ") {
		t.Errorf("webhook-signature %q", got)
	}
	again, body2 := send(m)
	if again.Get("webhook-id") != m.ID || body2 != body {
		t.Error("a second attempt has another id or body")
	}
}

// TestUnsendable are messages that are refused before anything is sent.
func TestUnsendable(t *testing.T) {
	t.Parallel()
	sender, to := receiver.Handler(func(http.ResponseWriter, *http.Request) { t.Error("sent") })(t)
	for name, c := range map[string]struct {
		change func(*channel.Message)
		says   string
	}{
		"no notification":     {func(m *channel.Message) { m.Notifications = nil }, "has 0"},
		"101 notifications":   {func(m *channel.Message) { m.Notifications = make([]json.RawMessage, 101) }, "has 101"},
		"broken JSON":         {func(m *channel.Message) { m.Notifications[0] = json.RawMessage("{" + channeltest.Gossip) }, "not valid JSON"},
		"no secret":           {func(m *channel.Message) { m.Secrets = nil }, "rotate it"},
		"empty secret":        {func(m *channel.Message) { m.Secrets = append(m.Secrets, "") }, "rotate it"},
		"secret of no use":    {func(m *channel.Message) { m.Secrets[0] = "whsec_" + channeltest.Secret }, "rotate it"},
		"no id":               {func(m *channel.Message) { m.ID = "" }, "no id"},
		"id with a full stop": {func(m *channel.Message) { m.ID = "1.2" }, "no id"},
		"id with a line":      {func(m *channel.Message) { m.ID = "1\r\nx: y" }, "no id"},
	} {
		m := channeltest.Message("x")
		c.change(m)
		t.Run(name, func(t *testing.T) {
			channeltest.Check(t, sender.Send(t.Context(), to, m), channeltest.Want{Kind: channel.Permanent, Says: c.says})
		})
	}
}

func TestHundred(t *testing.T) {
	t.Parallel()
	m := channeltest.Message("x")
	m.Notifications = nil
	for i := range webhook.MaxNotifications {
		m.Notifications = append(m.Notifications, json.RawMessage(strconv.Itoa(i)))
	}
	if _, body := inspect(t)(m); !strings.HasSuffix(body, ",98,99]}}") {
		t.Errorf("body %s", body)
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	a, b := webhook.NewSecret(), webhook.NewSecret()
	if a.Reveal() == b.Reveal() {
		t.Error("two secrets are the same")
	}
	for _, good := range []channel.Secret{a, b, channeltest.SigningSecret} {
		if err := webhook.CheckSecret(good); err != nil {
			t.Errorf("%s: %v", good.Reveal(), err)
		}
	}
	text := strings.TrimPrefix(a.Reveal(), "whsec_")
	for _, bad := range []string{
		"", "whsec_", text, "whpk_" + text, "WHSEC_" + text, " " + a.Reveal(), a.Reveal() + "\n", "whsec_" + text[:20] + "\r\n" + text[20:],
		"whsec_" + strings.TrimSuffix(text, "="), "whsec_" + text[4:], "whsec_AAAA" + text, "whsec_" + strings.Repeat("A", 42) + "B=",
		"whsec_" + strings.Repeat("_", 43) + "=",
	} {
		err := webhook.CheckSecret(channel.Secret(bad))
		if err == nil || err.Error() != "must be whsec_ and the base64 of 32 bytes" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	channeltest.FuzzAnswers(f, func(client *http.Client) (channel.Sender, channel.Target) {
		return webhook.New(client), channel.Target{Address: "https://receiver.example/hooks/" + channeltest.Secret}
	}, `{"ok":true}`)
}
