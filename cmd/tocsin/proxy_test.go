package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestBehindProxies serves Tocsin through each configuration of docs/proxy.md.
func TestBehindProxies(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	sites := regexp.MustCompile("(?s)```(nginx|caddy)\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(sites) != 4 {
		t.Fatalf("docs/proxy.md has %d configurations", len(sites))
	}
	for _, site := range sites {
		base := "https://" + regexp.MustCompile(`\w+\.example\.com`).FindString(site[2])
		if strings.Contains(site[2], " /tocsin/") {
			base += "/tocsin"
		}
		t.Run(site[1]+" "+base, func(t *testing.T) {
			t.Parallel()
			behindProxy(t, testenv.ReverseProxy(site[1]), site[2], base)
		})
	}
}

func behindProxy(t *testing.T, proxy testenv.ReverseProxy, site, base string) {
	t.Helper()
	d := newDeployment(t, "TOCSIN_DATA_DIR="+t.TempDir(), "TOCSIN_BASE_URL="+base, "TOCSIN_TRUSTED_PROXIES=127.0.0.1", "TOCSIN_LOG_LEVEL=info")
	d.web = start(t, d.env, "serve")
	address := proxy.Start(t, strings.ReplaceAll(site, "127.0.0.1:8080", strings.TrimPrefix(d.url, "http://")))
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	// The browser has another address than the proxy.
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // #nosec G402 -- a certificate of this machine
	}
	d.url, d.client = base, &http.Client{Jar: jar, Transport: transport, Timeout: time.Minute}
	t.Cleanup(transport.CloseIdleConnections)
	d.ready()

	d.throughPages(base)
	d.throughStream()
	if status, answer, err := d.try(http.MethodGet, "/metrics", nil); err != nil || status != http.StatusNotFound {
		t.Errorf("/metrics: %d %.80s %v", status, answer, err)
	}
}

// throughPages fails to log in, logs in, and looks at pages and what they load.
func (d *deployment) throughPages(base string) {
	d.t.Helper()
	code, output := wait(start(d.t, d.env, "user", "add", "alex", "--admin"))
	password := regexp.MustCompile(`\S+\s*$`).FindString(output)
	if code != 0 || password == "" {
		d.t.Fatalf("user add: exit %d\n%s", code, output)
	}
	page := d.page(http.MethodGet, "/", nil, "password")
	asset := regexp.MustCompile(`<link rel="stylesheet" href="([^"]+)"`).FindStringSubmatch(page)
	if asset == nil {
		d.t.Fatalf("a page without a style sheet: %s", page)
	}
	root, _ := url.Parse(base)
	d.page(http.MethodGet, strings.TrimPrefix(asset[1], root.Path), nil, "{")
	d.page(http.MethodPost, "/login", url.Values{"username": {"alex"}, "password": {"a wrong one"}}, "do not fit together")
	failed := regexp.MustCompile(
		`"audit":"login_failed".*"client":"127\.0\.0\.2"|"client":"127\.0\.0\.2".*"audit":"login_failed"`)
	testenv.Eventually(d.t, 10*time.Second, func() error {
		if !failed.MatchString(d.web.log.String()) {
			return fmt.Errorf("no such line in\n%s", d.web.log)
		}
		return nil
	}, "the log does not say where the failed login came from")
	d.page(http.MethodPost, "/login", url.Values{"username": {"alex"}, "password": {strings.TrimSpace(password)}}, "Inbox")
	d.page(http.MethodGet, "/products", nil, "Products")
	d.page(http.MethodGet, "/monitor", nil, "Asynq")
	if root.Path != "" {
		d.url = strings.TrimSuffix(base, root.Path)
		d.page(http.MethodGet, root.Path, nil, "Inbox")
		d.url = base
	}
}

// page loads a page as a browser does that makes up where it comes from, and follows redirects.
func (d *deployment) page(method, path string, form url.Values, want string) string {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header.Set("X-Forwarded-For", "192.0.2.1")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "https://"+r.URL.Host)
	}
	answer, err := d.client.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 500 || !strings.Contains(string(text), want) {
		d.t.Errorf("%s %s: %d without %q, %v:\n%.2000s", method, path, answer.StatusCode, want, err, text)
	}
	return string(text)
}

// throughStream follows the unread notifications while an import of some megabytes arrives.
func (d *deployment) throughStream() {
	d.t.Helper()
	d.call(http.MethodPut, "/api/v1/products/1", object{"name": "Payments API", "observation_notification_min_severity": "High"}, nil)
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, d.url+"/api/v1/notifications/stream", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+d.token)
	stream, err := d.client.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = stream.Body.Close() }()
	events := bufio.NewScanner(stream.Body)
	follow := func(count int) {
		d.t.Helper()
		for events.Scan() {
			if events.Text() == fmt.Sprintf(`data: {"count":%d}`, count) {
				return
			}
		}
		d.t.Fatalf("the stream ends before the count is %d: %v", count, events.Err())
	}
	follow(0)

	const lines = 8
	var body strings.Builder
	for id := range lines {
		fmt.Fprintf(&body, `{"id":%d,"product_id":1,"title":"CVE-2026-%[1]d","severity":"High","status":"Open","priority":null,"parser_type":"SCA"}`, id+1)
		body.WriteString(strings.Repeat(" ", 900<<10) + "\n")
	}
	status, answer, err := d.try(http.MethodPost, "/api/v1/observations", strings.NewReader(body.String()))
	if err != nil || status != http.StatusAccepted {
		d.t.Fatalf("an import of %d bytes: %d %s %v", body.Len(), status, answer, err)
	}
	follow(lines)
}
