package web

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestClientAddress(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, c := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:5000", []string{"198.51.100.1"}, "192.0.2.1:5000"}, // no proxy of ours
		{"10.0.0.1:5000", nil, "10.0.0.1:0"},
		{"10.0.0.1:5000", []string{"198.51.100.1"}, "198.51.100.1:0"},
		{"[::1]:5000", []string{"198.51.100.1"}, "198.51.100.1:0"},
		{"[::ffff:10.0.0.1]:5000", []string{"198.51.100.1"}, "198.51.100.1:0"},
		{"10.0.0.1:5000", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1:0"}, // what is left of it is made up
		{"10.0.0.1:5000", []string{"203.0.113.9, 198.51.100.1, 10.2.3.4"}, "198.51.100.1:0"},
		{"10.0.0.1:5000", []string{"203.0.113.9", "198.51.100.1,10.2.3.4"}, "198.51.100.1:0"},
		{"10.0.0.1:5000", []string{"10.9.9.9, 10.2.3.4"}, "10.9.9.9:0"},
		{"10.0.0.1:5000", []string{"198.51.100.1, unknown"}, "10.0.0.1:0"},
		{"10.0.0.1:5000", []string{"198.51.100.1, unknown, 10.2.3.4"}, "10.2.3.4:0"},
		{"10.0.0.1:5000", []string{"198.51.100.1:4711"}, "198.51.100.1:0"},
		{"10.0.0.1:5000", []string{"[2001:db8::1]:4711"}, "[2001:db8::1]:0"},
		{"10.0.0.1:5000", []string{"2001:db8::1"}, "[2001:db8::1]:0"},
		{"10.0.0.1:5000", []string{""}, "10.0.0.1:0"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = c.peer, c.forwarded
		if got := clientAddress(r, trusted); got != c.want {
			t.Errorf("%s, %q: %s, want %s", c.peer, c.forwarded, got, c.want)
		}
	}
}

// TestBasePath: with a path in the base URL, a proxy may take it away or not, and no redirect leads out of it.
func TestBasePath(t *testing.T) {
	t.Parallel()
	s := &server{basePath: "/sub"}
	h := s.behindProxies(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Seen", r.URL.RequestURI()) }), nil)
	for _, c := range []struct{ path, seen, location string }{
		{"/login?a=1", "/login?a=1", ""},
		{"/sub/login?a=1", "/login?a=1", ""},
		{"/sub/", "/", ""},
		{"/", "/", ""},
		{"/subway", "/subway", ""},
		{"/sub/a%2Fb", "/a%2Fb", ""},
		{"/sub", "", "/sub/"},
		{"//x/", "", "/sub/x/"},
		{"/sub//x/", "", "/sub/x/"},
		{"/sub//x?q=1", "", "/sub/x?q=1"},
		{"/sub/../x", "", "/sub/x"},
		{"/sub/monitor", "", "/sub/monitor/"},
		{"/monitor", "", "/sub/monitor/"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://tocsin.example"+c.path, nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if seen, location := w.Header().Get("Seen"), w.Header().Get("Location"); seen != c.seen || location != c.location {
			t.Errorf("%s: seen %q, location %q", c.path, seen, location)
		}
	}
	plain := &server{baseURL: "http://tocsin.example"}
	secure := &server{baseURL: "https://tocsin.example"}
	under := &server{baseURL: "https://tocsin.example/sub", basePath: "/sub"}
	for s, want := range map[*server][2]string{
		plain: {"tocsin_session", "/"}, secure: {"__Host-tocsin_session", "/"}, under: {"__Secure-tocsin_session", "/sub"},
	} {
		if c := s.cookie("tocsin_session", "x", 0); c.Name != want[0] || c.Path != want[1] || c.Secure != (s != plain) {
			t.Errorf("%s: %v", s.baseURL, c)
		}
	}
}
