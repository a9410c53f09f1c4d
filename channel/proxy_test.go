package channel

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// proxyServer is a proxy that notes what it is asked for, and connects to nothing but target.
type proxyServer struct {
	target, refuse string
	mu             sync.Mutex
	asked          []string
}

func (p *proxyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host)
	p.mu.Unlock()
	if r.Method != http.MethodConnect || p.refuse != "" {
		http.Error(w, p.refuse, http.StatusProxyAuthRequired)
		return
	}
	there, err := new(net.Dialer).DialContext(r.Context(), "tcp", p.target)
	if err != nil {
		http.Error(w, "", http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(there, here) }()
	_, _ = io.Copy(here, there)
}

func TestProxy(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	for _, refuse := range []string{"", "s3cr3t"} {
		p := &proxyServer{target: receiver.Listener.Addr().String(), refuse: refuse}
		srv := httptest.NewServer(p)
		t.Cleanup(srv.Close)
		at, err := url.Parse(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		at.User = url.UserPassword("u", "s3cr3t")
		client := NewOperatorClient(func(*url.URL) (*url.URL, error) { return at, nil })
		t.Cleanup(client.CloseIdleConnections)
		config := client.Transport.(answersOnly).TLSClientConfig
		config.RootCAs, config.ServerName = receiver.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, "example.com"
		answer, err := Post(t.Context(), client, "https://hooks.slack.com/services/s3cr3t", []byte("{}"), nil)
		switch {
		case refuse == "" && (err != nil || answer.Status != http.StatusOK):
			t.Errorf("%v", err)
		case refuse != "" && (err == nil || !strings.Contains(err.Error(), "proxy") || !strings.Contains(err.Error(), "407") || strings.Contains(err.Error(), "s3cr3t")):
			t.Errorf("%v", err)
		}
		if len(p.asked) != 1 || p.asked[0] != "CONNECT hooks.slack.com:443" {
			t.Errorf("the proxy was asked for %q", p.asked)
		}
	}
	gone := NewOperatorClient(func(*url.URL) (*url.URL, error) { return &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, nil })
	if _, err := Post(t.Context(), gone, "https://hooks.slack.com/services/s3cr3t", nil, nil); err == nil || !strings.Contains(err.Error(), "the proxy on the way") {
		t.Error(err)
	}
}
