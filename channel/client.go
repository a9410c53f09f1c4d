package channel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// ErrNotPublic is why NewHTTPClient's client refuses to connect.
var ErrNotPublic = errors.New("address not allowed for webhooks")

// Time-outs of one request. The caller's context is expected to be shorter; these hold where it has no deadline.
const (
	dialTimeout    = 10 * time.Second // name, connection and TLS together
	requestTimeout = 60 * time.Second // everything
	idleTimeout    = 30 * time.Second // below the 60 s after which many load balancers drop a connection without a word
	maxIdle        = 512
	maxIdlePerHost = 64 // all Slack webhooks share one host
	maxHeaderBytes = 64 << 10
)

// NewHTTPClient returns the client for webhooks, whose addresses come from users. At every connection, after DNS, it
// refuses what is neither a public address, reached by https on port 443, nor inside allowed, where http and any port
// pass too; the error then is ErrNotPublic. It uses no proxy, for that would connect in its stead, and follows no
// redirect. It is safe for concurrent use.
func NewHTTPClient(allowed []netip.Prefix) *http.Client {
	g := newGuard(allowed)
	return newClient(
		&net.Dialer{Timeout: dialTimeout, Control: g.plain},
		&net.Dialer{Timeout: dialTimeout, Control: g.encrypted},
	)
}

// NewOperatorClient returns a client like that of NewHTTPClient for addresses that the operator of Tocsin has chosen, such
// as that of Mailgun, and for webhooks behind a proxy of the operator, which then does the guarding. It connects to any
// address, through the proxy that proxy returns for it; nil: without one.
func NewOperatorClient(proxy func(to *url.URL) (*url.URL, error)) *http.Client {
	d := &net.Dialer{Timeout: dialTimeout}
	c := newClient(d, d)
	if proxy != nil {
		t := c.Transport.(answersOnly).Transport
		t.Proxy = func(r *http.Request) (*url.URL, error) { return proxy(r.URL) }
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		t.TLSHandshakeTimeout = dialTimeout
		t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
			if answer.StatusCode != http.StatusOK {
				return &proxyError{answer.StatusCode}
			}
			return nil
		}
	}
	return c
}

// proxyError is a proxy's refusal to connect.
type proxyError struct{ status int }

func (e *proxyError) Error() string { return fmt.Sprintf("the proxy answered %d", e.status) }

func newClient(plain, encrypted *net.Dialer) *http.Client {
	secure := &tls.Dialer{NetDialer: encrypted, Config: &tls.Config{MinVersion: tls.VersionTLS12}}
	return &http.Client{
		Timeout:       requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: answersOnly{&http.Transport{
			Proxy:                  nil,
			DialContext:            plain.DialContext,
			DialTLSContext:         secure.DialContext,
			MaxIdleConns:           maxIdle,
			MaxIdleConnsPerHost:    maxIdlePerHost,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
		}},
	}
}

// answersOnly ends the connection to who answers 101 and wants to go on with another protocol: http.Transport lets go of it,
// and reading from it would end with no time-out.
type answersOnly struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t answersOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		_ = resp.Body.Close()
		resp.Body = http.NoBody
	}
	return resp, err
}

// guard decides about an address after DNS has told it, so neither a name that changes what it stands for nor an unusual
// spelling of an address gets past it.
type guard struct {
	allowed         []netip.Prefix
	inside, outside *ssrf.Guardian
}

func newGuard(allowed []netip.Prefix) *guard {
	var v4, v6 []netip.Prefix
	for _, p := range allowed {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return &guard{
		allowed: allowed,
		inside:  ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...)),
		outside: ssrf.New(ssrf.WithPorts(443)),
	}
}

// plain is the net.Dialer.Control of http, encrypted that of https.
func (g *guard) plain(network, address string, c syscall.RawConn) error {
	if !g.within(address) {
		return ErrNotPublic
	}
	return refusal(g.inside.Safe(network, address, c))
}

func (g *guard) encrypted(network, address string, c syscall.RawConn) error {
	if g.within(address) {
		return refusal(g.inside.Safe(network, address, c))
	}
	return refusal(g.outside.Safe(network, address, c))
}

func (g *guard) within(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && contains(g.allowed, a.Addr())
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// refusal keeps the guard's text, which names the address, out of what is stored.
func refusal(err error) error {
	if err != nil {
		return ErrNotPublic
	}
	return nil
}
