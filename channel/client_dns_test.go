package channel

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// everywhere is a receiver on all addresses of this machine. It notes at which of them it was reached.
type everywhere struct {
	port string
	mu   sync.Mutex
	at   []string
}

func newEverywhere(t *testing.T) *everywhere {
	t.Helper()
	l, err := net.Listen("tcp", ":0") //nolint:noctx // ends with the test
	if err != nil {
		t.Fatal(err)
	}
	e := &everywhere{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		local := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		host, _, _ := net.SplitHostPort(local.String())
		e.mu.Lock()
		defer e.mu.Unlock()
		e.at = append(e.at, host)
	}))
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	_, e.port, _ = net.SplitHostPort(l.Addr().String())
	return e
}

func (e *everywhere) reached() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.at)
}

// TestSpellings spells addresses of this machine in every way that a URL has. However the system reads them, nothing
// is reached.
func TestSpellings(t *testing.T) {
	t.Parallel()
	e := newEverywhere(t)
	client := NewHTTPClient(private)
	for _, host := range []string{
		"127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0x0.0x0.0x1", "0x7f.1", "0177.0.0.1", "017700000001", "0", "0.0.0.0", "00.0.0.0", "127.0.0.1.",
		"localhost", "LOCALHOST", "localhost.", "x.localhost", "ip6-localhost", "ip6-loopback", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
		"[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]", "[::1%25lo]", "[fe80::1%25lo]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "ⓛocalhost", "ｌocalhost", "１２７.０.０.１", "127。0。0。1",
		"127.0.0.1%00.example.com", "127.0.0.1%2eexample", "hooks.slack.com@127.0.0.1", "user:pass@127.0.0.1", "127.0.0.1#@hooks.slack.com", "127.0.0.1\\@hooks.slack.com",
	} {
		for _, scheme := range []string{"http", "https"} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			url := scheme + "://" + host + ":" + e.port + "/s3cr3t"
			if before, after, found := strings.Cut(host, "@"); found && !strings.Contains(before, "127") {
				url = scheme + "://" + before + "@" + after + ":" + e.port + "/s3cr3t"
			} else if found {
				url = strings.Replace(url, before, before+":"+e.port, 1)
			}
			_, err := Post(ctx, client, Secret(url), []byte("{}"), nil)
			cancel()
			var failure *Error
			if !errors.As(err, &failure) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("%s: %v", url, err)
			}
		}
	}
	if at := e.reached(); at != nil {
		t.Errorf("reached at %v", at)
	}
}

// names is a DNS server for one test. It gives its answers for a name one after the other, the last one for ever.
type names struct {
	mu      sync.Mutex
	answers map[string][][]string
}

// resolver asks s.
func (s *names) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0") //nolint:noctx // ends with the test
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		buffer := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer, err := s.answer(buffer[:n]); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (s *names) answer(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	q := m.Questions[0]
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	if q.Type == dnsmessage.TypeA {
		s.mu.Lock()
		name := strings.TrimSuffix(q.Name.String(), ".")
		for _, a := range s.answers[name][0] {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
			})
		}
		if len(s.answers[name]) > 1 {
			s.answers[name] = s.answers[name][1:]
		}
		s.mu.Unlock()
	}
	return m.Pack()
}

// TestNamesThatChange: a name is judged by each address that it stands for at the moment of the connection.
func TestNamesThatChange(t *testing.T) {
	t.Parallel()
	const good, bad = "127.0.0.2", "127.0.0.1" // of which one is allowed
	e := newEverywhere(t)
	server := &names{answers: map[string][][]string{
		"changes.test": {{good}, {bad}, {good, bad}}, "both.test": {{bad, good, "10.1.2.3"}}, "private.test": {{bad, "10.1.2.3", "169.254.169.254"}},
	}}
	guard := newGuard([]netip.Prefix{netip.MustParsePrefix(good + "/32")})
	resolver := server.resolver(t)
	client := newClient(&net.Dialer{Timeout: dialTimeout, Control: guard.plain, Resolver: resolver}, &net.Dialer{Timeout: dialTimeout, Control: guard.encrypted, Resolver: resolver})
	for _, c := range []struct {
		name string
		ok   bool
	}{{"changes.test", true}, {"changes.test", false}, {"changes.test", true}, {"both.test", true}, {"both.test", true}, {"private.test", false}} {
		client.CloseIdleConnections()
		a, err := Post(t.Context(), client, Secret("http://"+c.name+":"+e.port+"/s3cr3t"), []byte("{}"), nil)
		if c.ok && (err != nil || a.Status != http.StatusOK) || !c.ok && !errors.Is(err, ErrNotPublic) {
			t.Errorf("%s: %+v, %v", c.name, a, err)
		}
	}
	if at := e.reached(); !slices.Equal(at, []string{good, good, good, good}) {
		t.Errorf("reached at %v", at)
	}
}
