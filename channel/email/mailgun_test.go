package email

import (
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/channeltest"
	"github.com/seed91453169/tocsin/rule"
)

const queued = `{"id":"<20260101.1@tocsin.example>","message":"Queued. Thank you."}`

var mailgunReceiver = channeltest.HTTP{
	New: func(_ *testing.T, base string) (channel.Sender, channel.Target) {
		return NewMailgun("tocsin.example", channeltest.Secret, base+"/v3", nil), channel.Target{Channel: rule.Email, Address: "alex@example.com"}
	},
	Status: http.StatusOK, Body: queued, Shorter: []int{413},
}

func TestMailgunSuite(t *testing.T) {
	t.Parallel()
	resetIn := func(unit time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			at := time.Now().Add(time.Minute)
			w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(at.UnixNano()/int64(unit), 10))
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}
	minute := channeltest.Want{Kind: channel.RateLimited, RetryAfter: time.Minute}
	mailgunReceiver.Suite(
		channeltest.Case{
			Name: "domain not known yet", Setup: mailgunReceiver.Answer(404, `{"message":"Domain not found: `+channeltest.Gossip+`"}`),
			Want: channeltest.Want{Kind: channel.Temporary, Says: "domain"},
		},
		channeltest.Case{Name: "reset, seconds", Setup: mailgunReceiver.Handler(resetIn(time.Second)), Want: minute},
		channeltest.Case{Name: "reset, milliseconds", Setup: mailgunReceiver.Handler(resetIn(time.Millisecond)), Want: minute},
	).Run(t)
}

// TestMailgunNewDomain: answers that the domain does not exist are temporary for a quarter of an hour, not for ever.
func TestMailgunNewDomain(t *testing.T) {
	t.Parallel()
	g, begun := &Mailgun{}, time.Now()
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {14 * time.Minute, true}, {16 * time.Minute, false}, {time.Hour, false}} {
		if got := g.stillNew(begun.Add(c.after)); got != c.want {
			t.Errorf("temporary after %v: %v", c.after, got)
		}
	}
	g.resetMissing()
	if !g.stillNew(begun.Add(2 * time.Hour)) {
		t.Error("permanent though the domain was found since")
	}
}

type request struct {
	method, path, user, password string
	form                         map[string][]string
}

func (r *request) read(t *testing.T, req *http.Request) {
	t.Helper()
	r.method, r.path, r.form = req.Method, req.URL.Path, map[string][]string{}
	r.user, r.password, _ = req.BasicAuth()
	kind, params, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return
	}
	parts := multipart.NewReader(req.Body, params["boundary"])
	for {
		p, err := parts.NextPart()
		if err != nil {
			return
		}
		value, err := io.ReadAll(p)
		if err != nil {
			t.Error(err)
		}
		r.form[p.FormName()] = append(r.form[p.FormName()], string(value))
	}
}

func TestMailgunRequest(t *testing.T) {
	t.Parallel()
	var got request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		got.read(t, req)
		_, _ = io.WriteString(w, queued)
	}))
	t.Cleanup(srv.Close)
	for _, base := range []string{srv.URL, srv.URL + "/", srv.URL + "/v3", srv.URL + "/v3/"} {
		g := NewMailgun("tocsin.example", channeltest.Secret, base, nil)
		m := channeltest.Message("Critical: x")
		if err := g.Send(t.Context(), alex, m); err != nil {
			t.Fatalf("%s: %v", base, err)
		}
		if got.method != http.MethodPost || got.path != "/v3/tocsin.example/messages" || got.user != "api" || got.password != channeltest.Secret {
			t.Errorf("%s: request %+v", base, got)
		}
		l, err := compose(alex, m)
		if err != nil {
			t.Fatal(err)
		}
		root := []string{"<observation-12@tocsin.example>"}
		want := map[string][]string{
			"from": {"noreply@tocsin.example"}, "to": {"alex@example.com"}, "subject": {"[Tocsin] Critical: x"},
			"text": {l.text}, "html": {l.html}, "o:tracking": {"no"},
			"h:Message-Id": {"<17-3@tocsin.example>"}, "h:References": root, "h:In-Reply-To": root,
			"h:Auto-Submitted": {"auto-generated"}, "h:X-Auto-Response-Suppress": {"DR, RN, NRN, OOF, AutoReply"},
		}
		if diff := cmp.Diff(want, got.form); diff != "" {
			t.Error(diff)
		}
	}
	for name, m := range channeltest.Messages() {
		if err := NewMailgun("tocsin.example", channeltest.Secret, srv.URL, nil).Send(t.Context(), alex, m); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		head := 0
		for field, values := range got.form {
			if strings.ContainsAny(values[0], "\r\n") && field != "text" && field != "html" || len(values) != 1 {
				t.Errorf("%s: %s is %q", name, field, values)
			}
			if strings.Contains(field, ":") {
				head += len(field) + len(values[0])
			}
		}
		if head > 16<<10 {
			t.Errorf("%s: %d bytes of options and headers", name, head)
		}
	}
}

func TestMailgunPing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		get, post int
		fails     string
	}{
		{"good", 200, 0, ""},
		{"key that may only send", 401, 400, ""},
		{"key that may only send, other status", 403, 400, ""},
		{"bad key", 401, 401, "401"},
		{"no such domain", 404, 404, "404"},
		{"down", 503, 0, "503"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				user, password, _ := req.BasicAuth()
				switch req.Method + " " + req.URL.Path {
				case "GET /v3/domains/tocsin.example":
					w.WriteHeader(c.get)
				case "POST /v3/tocsin.example/messages":
					w.WriteHeader(c.post)
				}
				if user != "api" || password != channeltest.Secret {
					t.Errorf("login %s", user)
				}
				_, _ = io.WriteString(w, channeltest.Gossip)
			}))
			t.Cleanup(srv.Close)
			err := NewMailgun("tocsin.example", channeltest.Secret, srv.URL, nil).Ping(t.Context(), "")
			if (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("Ping: %v", err)
			}
			if err != nil {
				channeltest.NoLeak(t, err)
			}
		})
	}
}
