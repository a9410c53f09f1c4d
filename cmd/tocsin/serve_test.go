package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// A process with an open stream ends at once, and the monitor works over the in-process Redis.
func TestServeEndsItsStreams(t *testing.T) {
	t.Parallel()
	d := newServe(t)
	if status, page, err := d.try(http.MethodGet, "/monitor/api/queues", nil); err != nil || status != 200 {
		t.Errorf("the monitor answers %d %s (%v)", status, page, err)
	}
	for _, path := range []string{"/monitor/", "/monitor/api/servers", "/monitor/api/redis_info", "/monitor/api/queue_stats"} {
		if status, page, err := d.try(http.MethodGet, path, nil); err != nil || status != 200 {
			t.Errorf("%s: %d %.200s (%v)", path, status, page, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/api/v1/notifications/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	res, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() && lines.Text() != `data: {"count":0}` {
		continue
	}
	if code, took := d.web.terminate(); code != 0 || took > 15*time.Second {
		t.Errorf("exit %d after %s", code, took)
	}
}

// A first start prints a link that makes the administrator, once; where an administrator exists it prints none.
func TestServePrintsALinkAtItsFirstStart(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, "TOCSIN_DATA_DIR="+t.TempDir())
	d.web = start(t, d.env, "serve")
	d.ready()
	link := d.web.printed("it works once, while this process runs:")
	if !strings.HasPrefix(link, d.url+"/setup?token=") {
		t.Fatalf("the link is %s", link)
	}
	token := strings.TrimPrefix(link, d.url+"/setup?token=")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	visitor := &http.Client{Transport: d.client.Transport, Jar: jar}
	ask := func(method, address string, form url.Values) (status int, page string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := visitor.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	if status, page := ask(http.MethodGet, link+"x", nil); status != 404 {
		t.Errorf("another token: %d %s", status, page)
	}
	if status, page := ask(http.MethodGet, link, nil); status != 200 || !strings.Contains(page, "Make the first administrator") {
		t.Fatalf("%d %s", status, page)
	}
	const password = "correct horse battery"
	form := url.Values{"token": {token}, "username": {"alex"}, "password": {password}, "repeated": {password}}
	if status, page := ask(http.MethodPost, d.url+"/setup", form); status != 200 || !strings.Contains(page, "There are no products yet") {
		t.Fatalf("%d %s", status, page) // the inbox, where the link leads in the end
	}
	if status, _ := ask(http.MethodGet, d.url+"/settings", nil); status != 200 {
		t.Errorf("alex is no administrator: %d", status)
	}
	form.Set("username", "mallory")
	if status, _ := ask(http.MethodPost, d.url+"/setup", form); status != 404 {
		t.Errorf("a second administrator: %d", status)
	}
	if status, _ := ask(http.MethodGet, link, nil); status != 404 {
		t.Errorf("the link is good for more: %d", status)
	}

	d.web.terminate()
	d.web = start(t, d.env, "serve")
	d.ready()
	if status, page := ask(http.MethodGet, d.url+"/", nil); status != 200 || !strings.Contains(page, "alex") {
		t.Errorf("the session is over after a restart: %d", status)
	}
	if code, _ := d.web.terminate(); code != 0 || strings.Contains(d.web.log.String(), "setup") {
		t.Errorf("the second start: exit %d, printed %s", code, d.web.log)
	}
}

// TestStartLine: the first line of the log says what starts, and with which settings.
func TestStartLine(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, "TOCSIN_DATA_DIR="+t.TempDir(), "TOCSIN_LOG_LEVEL=info", "TOCSIN_WORKER_CONCURRENCY=3")
	d.web = start(t, d.env, "serve")
	d.ready()
	var line struct {
		Message, Role, Version string
		Settings               map[string]string
	}
	first, _, _ := strings.Cut(d.web.log.String(), "\n")
	if err := json.Unmarshal([]byte(first), &line); err != nil {
		t.Fatalf("%s: %v", first, err)
	}
	if line.Message != "starting" || line.Role != "serve" || line.Version == "" || line.Settings["TOCSIN_WORKER_CONCURRENCY"] != "3" ||
		line.Settings["TOCSIN_SECRET_KEY"] != "set" || line.Settings["SMTP_URL"] != "set" {
		t.Error(first)
	}
	if _, there := line.Settings["TOCSIN_LOG_LEVEL"]; there {
		t.Errorf("info is the default: %s", first)
	}
}
