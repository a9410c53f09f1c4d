package channeltest

import (
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/channel"
)

// Loopback is what NewHTTPClient must allow to reach the receivers of tests.
var Loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// Statuses is the table of what each status means for the next attempt.
var Statuses = map[int]channel.Kind{
	300: channel.Permanent, 301: channel.Permanent, 302: channel.Permanent, 303: channel.Permanent,
	304: channel.Permanent, 307: channel.Permanent, 308: channel.Permanent,
	400: channel.Permanent, 401: channel.Permanent, 402: channel.Permanent, 403: channel.Permanent,
	404: channel.Permanent, 405: channel.Permanent, 406: channel.Permanent, 408: channel.Temporary,
	409: channel.Permanent, 410: channel.Permanent, 411: channel.Permanent, 413: channel.Permanent,
	415: channel.Permanent, 418: channel.Permanent, 421: channel.Permanent, 422: channel.Permanent,
	425: channel.Permanent, 426: channel.Permanent, 429: channel.RateLimited, 431: channel.Permanent,
	451: channel.Permanent, 499: channel.Permanent,
	500: channel.Temporary, 501: channel.Temporary, 502: channel.Temporary, 503: channel.Temporary,
	504: channel.Temporary, 505: channel.Temporary, 507: channel.Temporary, 511: channel.Temporary,
	520: channel.Temporary, 599: channel.Temporary,
}

// HTTP describes a sender that talks HTTP.
type HTTP struct {
	// New returns a sender and a target that lead to base, "http://127.0.0.1:1234", with Secret in all that is secret.
	New func(t *testing.T, base string) (channel.Sender, channel.Target)
	// Status and Body are the vendor's answer to a message that it accepts.
	Status int
	Body   string
	// Shorter are the statuses that ask for a shorter message.
	Shorter []int
	// Gone says that the vendor ends a webhook with 410.
	Gone bool
}

// Suite is the suite for h; more are cases of its vendor.
func (h HTTP) Suite(more ...Case) Suite {
	s := Suite{
		Accepts: h.Answer(h.Status, h.Body),
		Refuses: func(t *testing.T) (channel.Sender, channel.Target) { return h.New(t, "http://"+ClosedPort(t)) },
		Hangs: h.Handler(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}),
		BreaksOff: h.Handler(func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n")
			_ = c.Close()
		}),
	}
	for status, kind := range Statuses {
		if h.Gone && status == http.StatusGone {
			kind = channel.Gone
		}
		s.Cases = append(s.Cases, Case{
			Name:  fmt.Sprintf("status %d", status),
			Setup: h.Answer(status, Gossip+" "+Secret),
			Want:  Want{Kind: kind, TooLarge: slices.Contains(h.Shorter, status), Says: fmt.Sprint(status)},
		})
	}
	s.Cases = append(s.Cases, h.accepted()...)
	s.Cases = append(s.Cases, h.retryAfter()...)
	s.Cases = append(s.Cases, h.broken()...)
	s.Cases = append(s.Cases, h.huge()...)
	s.Cases = append(s.Cases, more...)
	return s
}

// acceptedBodies are bodies of a 2xx, from receivers that are compatible with a vendor, from flows, and from proxies.
// None of them decides anything.
var acceptedBodies = []string{
	"", "ok", " ok\n", "1", `"Accepted"`, "Message posted", `{"success":true}`, `{"id":"x"}`, `{"error":{"code":"x"}}`,
	"[[[[", "no_service", "Summary or Text is required.", "<html>" + Gossip, Gossip, "\xff\x00",
	"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId " +
		Gossip,
}

// accepted are answers that mean delivered: every 2xx does, whatever its body says, and however its body ends.
func (h HTTP) accepted() []Case {
	want := Want{OK: true}
	cases := []Case{
		{Name: "no content", Setup: h.Answer(http.StatusNoContent, ""), Want: want},
		{
			Name: "success whose body breaks off",
			Setup: h.Handler(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "1000")
				w.WriteHeader(h.Status)
				_, _ = io.WriteString(w, h.Body)
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}),
			Want: want,
		},
		{
			Name: "endless success", // a page of a proxy, say
			Setup: h.Handler(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusOK)
				pour(w, r)
			}),
			Want: want,
		},
		{
			Name: "endless success, packed", // some bytes of it become gigabytes
			Setup: h.Handler(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				w.WriteHeader(http.StatusOK)
				pour(gzip.NewWriter(w), r)
			}),
			Want: want,
		},
		{
			Name: "success that drips",
			Setup: h.Handler(func(w http.ResponseWriter, _ *http.Request) {
				hijack(w, drip("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"))
			}),
			Want: want,
		},
		{
			Name: "success that never ends",
			Setup: h.Handler(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}),
			Want: want,
		},
	}
	for _, status := range []int{http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusMultiStatus, 299} {
		for _, body := range acceptedBodies {
			cases = append(cases, Case{
				Name: fmt.Sprintf("success %d %.20q", status, body), Setup: h.Answer(status, body), Want: want,
			})
		}
	}
	return cases
}

func (h HTTP) retryAfter() []Case {
	inAMinute := func() string { return time.Now().Add(time.Minute).UTC().Format(http.TimeFormat) }
	constant := func(s string) func() string { return func() string { return s } }
	values := []struct {
		name  string
		value func() string
		want  time.Duration
	}{
		{"seconds", constant("17"), 17 * time.Second},
		{"date", inAMinute, time.Minute},
		{"past", constant("Wed, 21 Oct 2015 07:28:00 GMT"), 0},
		{"negative", constant("-5"), 0},
		{"words", constant("soon"), 0},
		{"endless", constant("99999999999"), channel.MaxRetryAfter},
		{"beyond numbers", constant(strings.Repeat("9", 40)), 0},
	}
	cases := make([]Case, 0, 2*len(values))
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		for _, v := range values {
			cases = append(cases, Case{
				Name: fmt.Sprintf("retry after, %s, status %d", v.name, status),
				Setup: h.Handler(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Retry-After", v.value())
					w.WriteHeader(status)
				}),
				Want: Want{Kind: Statuses[status], RetryAfter: v.want},
			})
		}
	}
	return cases
}

func (h HTTP) broken() []Case {
	var followed atomic.Int32
	return []Case{
		{
			Name:  "no answer at all",
			Setup: h.Handler(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
			Want:  Want{Kind: channel.Temporary, Says: "broke off"},
		},
		{
			Name: "not HTTP",
			Setup: func(t *testing.T) (channel.Sender, channel.Target) {
				return h.New(t, "http://"+Listen(t, func(c net.Conn) { _, _ = io.WriteString(c, Gossip+"\r\n\r\n") }))
			},
			Want: Want{Kind: channel.Temporary},
		},
		{
			Name: "redirect",
			Setup: h.Handler(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/elsewhere") {
					followed.Add(1)
				}
				http.Redirect(w, r, "/elsewhere?"+Secret, http.StatusTemporaryRedirect)
			}),
			Want: Want{Kind: channel.Permanent, Says: "redirect"},
			After: func(t *testing.T) {
				if followed.Load() > 0 {
					t.Error("the redirect was followed")
				}
			},
		},
	}
}

// huge are answers other than a success that have no end, or are very long.
func (h HTTP) huge() []Case {
	return []Case{
		{
			Name: "endless error",
			Setup: h.Handler(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusInternalServerError)
				pour(w, r)
			}),
			Want: Want{Kind: channel.Temporary, Says: "500"},
		},
		{
			Name:  "huge error",
			Setup: h.Answer(http.StatusBadGateway, strings.Repeat(Gossip, 1<<16)),
			Want:  Want{Kind: channel.Temporary, Says: "502"},
		},
		{
			Name: "huge header",
			Setup: h.Handler(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Huge", strings.Repeat("x", 1<<20))
				w.WriteHeader(h.Status)
			}),
			Want: Want{Kind: channel.Temporary},
		},
		{
			Name: "endless hints",
			Setup: h.Handler(func(w http.ResponseWriter, _ *http.Request) {
				hijack(w, func(c net.Conn) error {
					_, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nX: "+Gossip+"\r\n\r\n")
					return err
				})
			}),
			Want: Want{Kind: channel.Temporary},
		},
		{
			Name: "header that drips",
			Setup: h.Handler(func(w http.ResponseWriter, _ *http.Request) {
				hijack(w, drip("HTTP/1.1 200 OK\r\n", "X: x\r\n"))
			}),
			Hangs: true,
			Want:  Want{Kind: channel.Temporary, Says: "in time"},
		},
		{
			Name: "error that drips", // its status is the answer
			Setup: h.Handler(func(w http.ResponseWriter, _ *http.Request) {
				hijack(w, drip("HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"))
			}),
			Want: Want{Kind: channel.Temporary, Says: "502"},
		},
	}
}

// hijack calls say with the connection of an answer until it fails.
func hijack(w http.ResponseWriter, say func(net.Conn) error) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer func() { _ = c.Close() }()
	for err == nil {
		err = say(c)
	}
}

// drip returns a function for hijack: its first call writes first, each later one drop, some milliseconds apart.
func drip(first, drop string) func(net.Conn) error {
	said := first
	return func(c net.Conn) error {
		_, err := io.WriteString(c, said)
		said = drop
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // it is what is tested
		return err
	}
}

// pour writes until the client goes away.
func pour(w io.Writer, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, Gossip); err != nil {
			return
		}
	}
}

// Handler is the Setup of a receiver that answers as handle does.
func (h HTTP) Handler(handle http.HandlerFunc) Setup {
	return func(t *testing.T) (channel.Sender, channel.Target) {
		t.Helper()
		srv := httptest.NewServer(handle)
		t.Cleanup(srv.Close)
		t.Cleanup(srv.CloseClientConnections) // runs first: ends what hangs
		return h.New(t, srv.URL)
	}
}

// Answer is the Setup of a receiver that always answers with this status and body.
func (h HTTP) Answer(status int, body string) Setup {
	return h.Handler(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if status >= 300 && status <= 399 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// Recorder is a receiver that accepts and keeps every request.
type Recorder struct {
	mu     sync.Mutex
	bodies [][]byte
	types  []string
}

// Setup returns the Setup of a receiver that answers as h's vendor does, and whose requests r keeps.
func (r *Recorder) Setup(h HTTP) Setup {
	return h.Handler(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.bodies, r.types = append(r.bodies, body), append(r.types, req.Header.Get("Content-Type"))
		r.mu.Unlock()
		w.WriteHeader(h.Status)
		_, _ = io.WriteString(w, h.Body)
	})
}

// Last returns body and content type of the latest request.
func (r *Recorder) Last(t *testing.T) (body []byte, contentType string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.bodies) == 0 {
		t.Fatal("nothing was received")
	}
	return r.bodies[len(r.bodies)-1], r.types[len(r.types)-1]
}
