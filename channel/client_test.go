package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestGuard holds addresses as they are after DNS against what may be reached.
func TestGuard(t *testing.T) {
	t.Parallel()
	allowed := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		address          string
		allowed          []netip.Prefix
		plain, encrypted bool
	}{
		{"93.184.216.34:443", nil, false, true},
		{"93.184.216.34:80", nil, false, false},
		{"93.184.216.34:8443", nil, false, false},
		{"[2606:4700::1111]:443", nil, false, true},
		{"93.184.216.34:443", allowed, false, true},
		{"93.184.216.34:80", allowed, false, false},
		{"127.0.0.1:443", nil, false, false},
		{"127.0.0.1:80", allowed, true, true},
		{"127.8.8.8:9999", allowed, true, true},
		{"[fd00::1]:9999", allowed, true, true},
		{"[::1]:443", allowed, false, false},
		{"[::ffff:127.0.0.1]:443", allowed, false, false},
		{"[64:ff9b::7f00:1]:443", nil, false, false},
		{"[2002:7f00:1::]:443", nil, false, false},
		{"10.0.0.1:443", allowed, false, false},
		{"192.168.1.1:443", nil, false, false},
		{"169.254.169.254:443", nil, false, false},
		{"100.64.0.1:443", nil, false, false},
		{"224.0.0.1:443", nil, false, false},
		{"0.0.0.0:443", nil, false, false},
		{"192.0.2.1:443", nil, false, false},
		{"192.88.99.1:443", nil, false, false},
		{"198.18.0.1:443", nil, false, false},
		{"240.0.0.1:443", nil, false, false},
		{"255.255.255.255:443", nil, false, false},
		{"[::]:443", nil, false, false},
		{"[::ffff:169.254.169.254]:443", nil, false, false},
		{"[::127.0.0.1]:443", nil, false, false},
		{"[64:ff9b::a9fe:a9fe]:443", nil, false, false},
		{"[64:ff9b:1::7f00:1]:443", nil, false, false},
		{"[100::1]:443", nil, false, false},
		{"[2001::1]:443", nil, false, false},
		{"[2001:db8::1]:443", nil, false, false},
		{"[fd00:ec2::254]:443", nil, false, false},
		{"[fe80::1%eth0]:443", nil, false, false},
		{"[fec0::1]:443", nil, false, false},
		{"[ff02::1]:443", nil, false, false},
		{"nonsense", allowed, false, false},
	} {
		g := newGuard(c.allowed)
		network := "tcp4"
		if strings.HasPrefix(c.address, "[") {
			network = "tcp6"
		}
		for scheme, want := range map[string]bool{"http": c.plain, "https": c.encrypted} {
			check := g.encrypted
			if scheme == "http" {
				check = g.plain
			}
			if err := check(network, c.address, nil); (err == nil) != want || err != nil && !errors.Is(err, ErrNotPublic) {
				t.Errorf("%s to %s: %v", scheme, c.address, err)
			}
		}
		if g.encrypted("udp4", c.address, nil) == nil {
			t.Errorf("udp to %s", c.address)
		}
	}
}

func TestClient(t *testing.T) {
	var hits, proxied atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Add(1) }))
	t.Cleanup(proxy.Close)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		http.Redirect(w, r, "/again", http.StatusFound)
	}))
	t.Cleanup(srv.Close)
	post := func(c *http.Client, url string) (*Answer, error) {
		return Post(t.Context(), c, Secret(url), []byte("{}"), nil)
	}
	var failure *Error

	if a, err := post(NewHTTPClient(loopback), srv.URL+"/s3cr3t"); err != nil || a.Status != http.StatusFound || hits.Load() != 1 {
		t.Errorf("allowed: %+v, %v, %d hits", a, err, hits.Load())
	}
	// A name is judged by what it stands for; localhost may be ::1 first.
	named := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	for _, url := range []string{srv.URL, named, strings.Replace(srv.URL, "http:", "https:", 1)} {
		_, err := post(NewHTTPClient(nil), url+"/s3cr3t")
		if !errors.As(err, &failure) || failure.Kind != Permanent || !errors.Is(err, ErrNotPublic) || strings.Contains(fmt.Sprintf("%+v", err), "s3cr3t") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if hits.Load() != 1 || proxied.Load() != 0 {
		t.Errorf("%d hits, %d through the proxy", hits.Load(), proxied.Load())
	}
}

// TestSwitchedProtocols has a receiver leave HTTP and keep the connection: nobody waits for what comes of it.
func TestSwitchedProtocols(t *testing.T) {
	t.Parallel()
	gone := make(chan error, 2)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, in, err := http.NewResponseController(w).Hijack()
		if err != nil {
			gone <- err
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"))
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err = io.Copy(io.Discard, in) // until the client closes
		gone <- err
	}))
	t.Cleanup(srv.Close)
	for _, client := range []*http.Client{NewHTTPClient(loopback), NewOperatorClient(nil)} {
		a, err := Post(t.Context(), client, Secret(srv.URL), []byte("{}"), nil)
		if err != nil || a.Status != http.StatusSwitchingProtocols || a.Err().Kind != Temporary {
			t.Errorf("%+v, %v", a, err)
		}
		if err := <-gone; err != nil {
			t.Errorf("the connection is kept: %v", err)
		}
	}
}

func TestClientTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(srv.Close)
	_, err := Post(t.Context(), NewHTTPClient(loopback), Secret(srv.URL), nil, nil)
	var failure *Error
	if !errors.As(err, &failure) || failure.Kind != Temporary || !strings.Contains(failure.Reason, "certificate") {
		t.Errorf("unknown authority: %v", err)
	}
}

func TestNetworkError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		says string
	}{
		{&net.DNSError{Err: "no such host", Name: "s3cr3t.example", IsNotFound: true}, "resolved"},
		{&net.DNSError{Err: "timeout", Name: "s3cr3t.example", IsTimeout: true}, "resolved"},
		{context.DeadlineExceeded, "in time"},
		{errors.New("s3cr3t"), "could not be reached"},
	} {
		e := NetworkError("the webhook", fmt.Errorf("s3cr3t: %w", c.err))
		if e.Kind != Temporary || !strings.Contains(e.Reason, c.says) || strings.Contains(fmt.Sprintf("%+v %v", e, e.Err), "s3cr3t") {
			t.Errorf("%v: %+v", c.err, e)
		}
	}
}

// TestRetryAfterIsByTheClockOfTheReceiver has a receiver whose clock is an hour behind ask for a minute.
func TestRetryAfterIsByTheClockOfTheReceiver(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now().Add(-time.Hour).UTC()
		w.Header().Set("Date", now.Format(http.TimeFormat))
		w.Header().Set("Retry-After", now.Add(time.Minute).Format(http.TimeFormat))
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	t.Cleanup(srv.Close)
	client := NewHTTPClient(loopback)
	t.Cleanup(client.CloseIdleConnections)
	if a, err := Post(t.Context(), client, Secret(srv.URL), nil, nil); err != nil || a.RetryAfter != time.Minute {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, " 90 ": 90 * time.Second, "-1": 0, "1.5": 0, "soon": 0, "86401": MaxRetryAfter,
		"9223372036854775807": MaxRetryAfter, "99999999999999999999": 0,
		"Sun, 01 Mar 2026 12:01:00 GMT": time.Minute, "Sun, 01 Mar 2026 11:00:00 GMT": 0,
		"Sunday, 01-Mar-26 12:00:30 GMT": 30 * time.Second, "Fri, 01 Jan 2100 00:00:00 GMT": MaxRetryAfter,
	} {
		if got := ParseRetryAfter(in, now); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}
