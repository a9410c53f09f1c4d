package webhook_test

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/channeltest"
	"github.com/seed91453169/tocsin/channel/webhook"
)

// TestReceiversInDocs runs the receivers of docs/webhooks.md: they take what is sent, with the newer or the older of two
// secrets, and refuse what is signed with another one, or not at all.
func TestReceiversInDocs(t *testing.T) {
	t.Parallel()
	docs, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	for language, prepare := range map[string]func(t *testing.T, file string) *exec.Cmd{
		"python": func(t *testing.T, file string) *exec.Cmd { return exec.CommandContext(t.Context(), "python3", file) },
		"go": func(t *testing.T, file string) *exec.Cmd {
			binary := strings.TrimSuffix(file, ".go")
			if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, file).CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			return exec.CommandContext(t.Context(), binary)
		},
	} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			_, rest, _ := strings.Cut(string(docs), "```"+language+"\n")
			source, _, found := strings.Cut(rest, "\n```")
			if !found || strings.Count(source, "\n") > 35 {
				t.Fatalf("no short receiver in %s", language)
			}
			file := filepath.Join(t.TempDir(), "receiver."+language)
			if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
				t.Fatal(err)
			}
			tryReceiver(t, prepare(t, file))
		})
	}
}

func tryReceiver(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	address, secret := channeltest.ClosedPort(t), webhook.NewSecret()
	_, port, _ := net.SplitHostPort(address)
	cmd.Env = append(os.Environ(), "PORT="+port, "WEBHOOK_SECRET="+secret.Reveal())
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	client := channel.NewHTTPClient(channeltest.Loopback)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); ; <-tick.C {
		resp, err := client.Post("http://"+address, "application/json", strings.NewReader("{}")) //nolint:noctx // ends with the receiver
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Fatalf("a request without a signature is answered %d", resp.StatusCode)
			}
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatal(err)
		}
	}
	sender, to := webhook.New(client), channel.Target{Address: channel.Secret("http://" + address)}
	lines := bufio.NewScanner(out)
	for name, c := range map[string]struct {
		secrets []channel.Secret
		want    channeltest.Want
	}{
		"its secret":  {[]channel.Secret{secret}, channeltest.Want{OK: true}},
		"two secrets": {[]channel.Secret{webhook.NewSecret(), secret}, channeltest.Want{OK: true}},
		"another's":   {[]channel.Secret{webhook.NewSecret()}, channeltest.Want{Kind: channel.Permanent, Says: "401"}},
	} {
		m := channeltest.Message("x")
		m.Notifications = []json.RawMessage{json.RawMessage(`{"id":17,"type":"observation","event":"new","name":"CVE <1> ü"}`)}
		m.Secrets = c.secrets
		channeltest.Check(t, sender.Send(t.Context(), to, m), c.want)
		if c.want.OK && (!lines.Scan() || lines.Text() != "17 observation new CVE <1> ü") {
			t.Errorf("%s: the receiver printed %q", name, lines.Text())
		}
	}
}
