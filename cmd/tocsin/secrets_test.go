package main

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/internal/testenv/program"
	"github.com/seed91453169/tocsin/tasks"
)

// secrets are the values that nothing may show, by what they are.
type secrets map[string]string

// of returns the secret of a name and generates it at the first call.
func (s secrets) of(name string) string {
	if s[name] == "" {
		s[name] = strings.ReplaceAll(name, " ", "") + "S3cr3t" + hex.EncodeToString([]byte(name))
	}
	return s[name]
}

// in returns the names of those that a text shows, as they are or in a common encoding.
func (s secrets) in(text string) (found []string) {
	for name, secret := range s {
		forms := []string{secret, url.QueryEscape(secret), hex.EncodeToString([]byte(secret))}
		for shift := range 3 { // base64 of a text that holds it depends on what stands before
			encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
			forms = append(forms, encoded[4:len(encoded)-4])
		}
		for _, form := range forms {
			if strings.Contains(text, form) {
				found = append(found, name)
				break
			}
		}
	}
	return found
}

// TestNoSecretShows runs the roles with a secret of its own wherever there is one, at the lowest level of logging, has all
// receivers, the mail server, Mailgun, the login service and the database fail, and then looks for the secrets in everything
// that the product has written, stored and answered.
func TestNoSecretShows(t *testing.T) {
	t.Parallel()
	s := secrets{}
	shown := map[string]string{} // what was written, by where
	echo := httptest.NewServer(http.HandlerFunc(echoes))
	t.Cleanup(echo.Close)
	secure := httptest.NewTLSServer(http.HandlerFunc(echoes)) // its certificate has no known authority
	t.Cleanup(secure.Close)
	closed := "http://127.0.0.1:" + program.FreePort(t)

	databaseURL, err := url.Parse(testenv.PostgresURL(t, testenv.MigrateSchema))
	if err != nil {
		t.Fatal(err)
	}
	if _, given := databaseURL.User.Password(); !given { // it is trusted whatever it says
		databaseURL.User = url.UserPassword(databaseURL.User.Username(), s.of("database password"))
	}
	redisURL, seen := guardedRedis(t, s.of("redis password"))
	secretKey, oldKey := []byte(s.of("secret key"))[:32], []byte(s.of("old secret key"))[:32]
	s["secret key"], s["old secret key"] = string(secretKey), string(oldKey)

	d := newDeployment(t)
	d.network.answer = func(string, int) int { return http.StatusOK }
	token := s.of("admin token")
	d.token = token
	d.env = append(d.env, "TOCSIN_LOG_LEVEL=trace", "TOCSIN_ADMIN_TOKEN="+token, "DATABASE_URL="+databaseURL.String(), "REDIS_URL="+redisURL,
		"TOCSIN_SECRET_KEY="+base64.StdEncoding.EncodeToString(secretKey), "TOCSIN_SECRET_KEY_OLD="+base64.StdEncoding.EncodeToString(oldKey),
		"SMTP_URL=smtp://tocsin:"+s.of("mail password")+"@"+rudeMailServer(t)+"?tls=none", "TOCSIN_BASE_URL="+d.url,
		"TOCSIN_OIDC_ISSUER="+echo.URL+"/issuer", "TOCSIN_OIDC_CLIENT_ID=tocsin", "TOCSIN_OIDC_CLIENT_SECRET="+s.of("client secret"))
	mailgun := []string{"MAILGUN_DOMAIN=tocsin.example", "MAILGUN_API_KEY=" + s.of("mailgun key"), "MAILGUN_API_BASE=" + echo.URL}
	with := func(more ...string) []string { return slices.Concat(d.env, more) }

	// Starts that must fail.
	for name, env := range map[string][]string{
		"faulty everything": {
			"DATABASE_URL=postgres://u:" + s.of("wrong database password") + "@h:port/d", "REDIS_URL=redis://:" + s.of("wrong redis password") + "@h:port", "TOCSIN_SECRET_KEY=" + s.of("short key"),
			"SMTP_URL=smtp://u:" + s.of("wrong mail password") + "#@h", "TOCSIN_ADMIN_TOKEN=" + s.of("token with spaces") + " ü", "MAILGUN_API_KEY=" + s.of("mailgun key"), "TOCSIN_OIDC_CLIENT_SECRET_FILE=/" + s.of("client secret"),
		},
		"no database":            {"DATABASE_URL=postgres://u:" + s.of("wrong database password") + "@127.0.0.1:1/d?connect_timeout=2"},
		"no database at a name":  {"DATABASE_URL=postgres://u:" + s.of("wrong database password") + "@nowhere.invalid/d?connect_timeout=2"},
		"no Redis":               {"REDIS_URL=redis://:" + s.of("wrong redis password") + "@127.0.0.1:1"},
		"another Redis password": {"REDIS_URL=" + strings.Replace(redisURL, s.of("redis password"), s.of("wrong redis password"), 1)},
		"no Redis over TLS":      {"REDIS_URL=" + strings.Replace(redisURL, "redis://", "rediss://", 1)},
		"another key":            {"TOCSIN_SECRET_KEY=" + base64.StdEncoding.EncodeToString([]byte("another key of thirty-two bytes.")), "TOCSIN_SECRET_KEY_OLD="},
		"Mailgun":                mailgun,
	} {
		_, shown["check with "+name] = wait(start(t, with(env...), "check"))
	}
	_, shown["a worker with faulty everything"] = wait(start(t, with("DATABASE_URL="+s.of("wrong database password"), "TOCSIN_SECRET_KEY="+s.of("short key")), "worker"))
	_, shown["migrate"] = wait(start(t, d.env, "migrate", "up"))

	// What runs.
	health := "127.0.0.1:" + program.FreePort(t)
	d.web, d.scheduler = start(t, d.env, "web"), start(t, with("TOCSIN_METRICS_LISTEN="+health), "scheduler")
	d.worker = start(t, d.env, "worker")
	roles := []*process{d.web, d.worker, d.scheduler}
	d.ready()
	_, output := wait(start(t, d.env, "user", "add", "alex", "--admin"))
	s["password"] = regexp.MustCompile(`\S+\s*$`).FindString(strings.TrimSpace(output))
	_, output = wait(start(t, d.env, "token", "create", "--user", "alex"))
	s["API token"] = regexp.MustCompile(`tocsin_\S+`).FindString(output)
	_, shown["user list"] = wait(start(t, d.env, "user", "list"))
	_, shown["token list"] = wait(start(t, d.env, "token", "list"))
	_, s["session"], _ = strings.Cut(d.logIn("alex", s["password"]), "=")
	d.useCredentials(s, shown)

	db := open(t, databaseURL.String())

	// Receivers that fail, each in its own way.
	d.call(http.MethodPatch, "/api/v1/settings", object{
		"email_from": "tocsin@example.com", "digest_threshold": 0, "exception_rate_limit": 0, "observation_title_notification_min_severity": "Low", "exception_email_to": "ops@example.com",
		"observation_title_notification_slack_webhook": echo.URL + "/500/" + s.of("title webhook") + "/a1b2", "exception_slack_webhook": echo.URL + "/404/" + s.of("exception webhook") + "/a1b2",
		"exception_ms_teams_webhook": echo.URL + "/200/" + s.of("exception teams webhook") + "/a1b2",
	}, nil)
	for i, webhook := range []string{
		d.network.URL + "/slack/", echo.URL + "/500/", echo.URL + "/404/", echo.URL + "/307/", echo.URL + "/200/", closed + "/", secure.URL + "/", "https://nowhere.invalid/", "https://192.0.2.1/",
	} {
		path := fmt.Sprintf("/api/v1/products/%d", i+1)
		settings := object{"name": fmt.Sprint("Product ", i+1), "observation_notification_min_severity": "Low", "notification_email_to": fmt.Sprintf("team%d@example.com", i+1)}
		for _, channel := range []string{"slack", "ms_teams"} {
			settings["notification_"+channel+"_webhook"] = webhook + s.of(fmt.Sprint(channel, " webhook ", i)) + "?sig=" + s.of(fmt.Sprint(channel, " signature ", i)) + "&x=a1b2"
		}
		status, answer, err := d.try(http.MethodPut, path, settings)
		if refused := strings.Contains(webhook, "192.0.2.1"); err != nil || refused != (status == http.StatusUnprocessableEntity) {
			t.Fatalf("%s: %d %s %v", path, status, answer, err)
		} else if refused {
			shown["refused webhook"] = string(answer)
			continue
		}
		d.call(http.MethodPost, "/api/v1/observations", object{"observations": []object{{
			"id": i + 1, "product_id": i + 1, "title": fmt.Sprint("CVE-", i), "severity": "High", "status": "Open", "priority": nil, "parser_type": "SCA",
		}}}, nil)
		d.call(http.MethodPut, path+"/security-gate", object{"passed": false}, nil)
		_, answer, _ = d.try(http.MethodPost, path+"/test-notification", object{})
		shown["test of "+path] = string(answer)
	}
	_, answer, _ := d.try(http.MethodPost, "/api/v1/settings/test-notification", object{})
	shown["test of the settings"] = string(answer)
	arguments := object{"password": s.of("argument"), "nested": []any{object{"X-Api-Key": s.of("nested argument"), "Authorization": []any{s.of("listed argument")}}}}
	d.call(http.MethodPost, "/api/v1/task-exceptions", object{"class": "KeyError", "function": "import", "arguments": arguments}, nil)
	client := testenv.RedisClient(t, redisURL)
	task, err := tasks.NewTaskException(tasks.TaskExceptionInfo{ExceptionInfo: tasks.ExceptionInfo{Class: "ValueError"}, Arguments: arguments})
	if err == nil {
		err = tasks.NewClient(client).Enqueue(t.Context(), task)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.allTried(db)
	d.failedBy(db, "answered 500", "answered 404", "redirect", "refused the connection", "certificate", "could not be resolved", "login was refused")

	// Mailgun instead of the mail server, and a database that fails.
	d.worker.terminate()
	d.worker = start(t, with(mailgun...), "worker")
	roles = append(roles, d.worker)
	d.call(http.MethodPost, "/api/v1/deliveries/resend", object{"state": "failed"}, nil)
	d.call(http.MethodPost, "/api/v1/exceptions", object{"class": "LastError"}, nil)
	d.allTried(db)
	d.failedBy(db, "Mailgun answered 500")
	for _, statement := range []string{"ALTER TABLE deliveries RENAME TO gone", "ALTER TABLE gone RENAME TO deliveries"} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		_, answer, _ := d.try(http.MethodGet, "/api/v1/deliveries", nil)
		shown["deliveries after "+statement] = string(answer)
	}

	// Everything that can be looked at.
	_, shown["check"] = wait(start(t, d.env, "check"))
	d.readEverything(shown)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if res, err := d.client.Get("http://" + health + path); err == nil { //nolint:noctx // on this machine
			text, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			shown["scheduler "+path] = string(text)
		}
	}
	shown["Redis"] = dumpRedis(t, client)
	dump := t.TempDir() + "/dump.sql"
	if err := postgresProgram("pg_dump", "--file="+dump, databaseURL.String()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	shown["database"] = string(text)
	for _, p := range roles {
		p.terminate()
		shown[fmt.Sprintf("log of %s, %d", p.Args[0], p.Pid())] = p.log.String()
	}
	shown["commands to Redis"] = seen.String()

	if log := d.web.log.String(); !strings.Contains(log, "exchange the code") {
		t.Errorf("the login service was not asked: %s", log)
	}
	if !strings.Contains(seen.String(), queue.TypeTargetDrain) {
		t.Errorf("what is said to Redis is not seen: %.1000s", seen)
	}
	for where, text := range shown {
		if strings.TrimSpace(text) == "" {
			t.Errorf("%s: there is nothing to look at", where)
		}
		for _, name := range s.in(text) {
			if name == "password as a name" && strings.HasPrefix(where, "POST /login") {
				continue // the user who typed it sees it again
			}
			at := strings.Index(text, s[name])
			t.Errorf("%s shows the %s: %.300q", where, name, text[max(0, at-100):])
		}
		if strings.Contains(text, "panic") && strings.Contains(text, "goroutine") {
			t.Errorf("%s: a panic: %.2000s", where, text)
		}
	}
	if t.Failed() {
		return
	}
	// The test would see them where they are meant to be.
	if found := s.in(strings.Join(d.env, "\n")); len(found) < 6 {
		t.Errorf("only %v are found in the environment", found)
	}
}

// echoes answers with the status that the path begins with, and repeats all that it was sent. It is a login service as well.
func echoes(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	issuer := "http://" + r.Host + "/issuer"
	if r.URL.Path == "/issuer/.well-known/openid-configuration" {
		_ = json.NewEncoder(w).Encode(object{
			"issuer": issuer, "authorization_endpoint": issuer + "/auth", "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"},
		})
		return
	}
	status := http.StatusInternalServerError
	_, _ = fmt.Sscanf(r.URL.Path, "/%d/", &status)
	everything := r.URL.String() + " " + r.Header.Get("Authorization") + " " + string(body)
	w.Header().Set("X-Echo", strings.Map(func(c rune) rune { return max(c, ' ') }, everything[:min(len(everything), 2000)]))
	if status/100 == 3 {
		w.Header().Set("Location", r.URL.String())
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, everything)
}

// rudeMailServer refuses every login, and repeats it.
func rudeMailServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.WriteString(c, "220 mail.example.com ESMTP\r\n")
				for lines := bufio.NewScanner(c); lines.Scan(); {
					answer := "535 5.7.8 no: " + lines.Text()
					if strings.HasPrefix(lines.Text(), "EHLO") {
						answer = "250-mail.example.com\r\n250 AUTH PLAIN LOGIN"
					}
					if _, err := io.WriteString(c, answer+"\r\n"); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// guardedRedis is a Redis behind a password, and all that is said to it from then on.
func guardedRedis(t *testing.T, password string) (address string, seen *lockedBuffer) {
	t.Helper()
	client := testenv.RedisClient(t, testenv.Redis(t).URL())
	if err := client.ConfigSet(t.Context(), "requirepass", password).Err(); err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	monitor, err := dialer.DialContext(t.Context(), "tcp", client.Options().Addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(monitor, "AUTH "+password+"\r\nMONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	seen = new(lockedBuffer)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(seen, monitor)
	}()
	t.Cleanup(func() { _ = monitor.Close(); <-done })
	return (&url.URL{Scheme: "redis", User: url.UserPassword("", password), Host: client.Options().Addr, Path: fmt.Sprint("/", client.Options().DB)}).String(), seen
}

// dumpRedis returns every key with its value.
func dumpRedis(t *testing.T, client *redis.Client) string {
	t.Helper()
	ctx := t.Context()
	var b strings.Builder
	keys := client.Scan(ctx, 0, "*", 1000).Iterator()
	for keys.Next(ctx) {
		key := keys.Val()
		kind := client.Type(ctx, key).Val()
		var value any
		switch kind {
		case "string":
			value = client.Get(ctx, key).Val()
		case "hash":
			value = client.HGetAll(ctx, key).Val()
		case "list":
			value = client.LRange(ctx, key, 0, -1).Val()
		case "set":
			value = client.SMembers(ctx, key).Val()
		case "zset":
			value = client.ZRangeWithScores(ctx, key, 0, -1).Val()
		case "none": // it is gone since the keys were listed
		default:
			t.Errorf("%s is a %s", key, kind)
		}
		fmt.Fprintf(&b, "%s %s\n", key, value)
	}
	if err := keys.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// useCredentials logs in, rightly and wrongly, in every way.
func (d *deployment) useCredentials(s secrets, shown map[string]string) {
	ask := func(method, path, body string, header ...string) http.Header {
		d.t.Helper()
		r, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, strings.NewReader(body))
		if err != nil {
			d.t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := d.client.Transport.RoundTrip(r)
		if err != nil {
			d.t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if err != nil {
			d.t.Fatal(err)
		}
		_ = res.Body.Close()
		path, _, _ = strings.Cut(path, "?")
		shown[fmt.Sprintf("%s %s, %d", method, path, len(shown))] = fmt.Sprint(res.StatusCode, string(text))
		return res.Header
	}
	for _, bearer := range []string{s["API token"], s.of("wrong token")} {
		ask(http.MethodGet, "/api/v1/users", "", "Authorization", "Bearer "+bearer)
		ask(http.MethodGet, "/api/v1/users?token="+bearer, "", "X-Token", bearer)
	}
	ask(http.MethodPost, "/login", "username=alex&password="+s.of("wrong password"))
	ask(http.MethodPost, "/login", "username="+url.QueryEscape(s.of("password as a name"))+"&password=x")
	begun := ask(http.MethodGet, "/login/oidc", "")
	where, err := url.Parse(begun.Get("Location"))
	if err != nil || where.Query().Get("state") == "" {
		d.t.Fatalf("the login through OpenID Connect leads to %q", begun.Get("Location"))
	}
	cookie, _, _ := strings.Cut(begun.Get("Set-Cookie"), ";")
	ask(http.MethodGet, "/login/oidc/callback?state="+where.Query().Get("state")+"&code="+s.of("code"), "", "Cookie", cookie)
}

// allTried waits until nothing is left to evaluate and every target was tried since the last call.
func (d *deployment) allTried(db *dbmodel.DB) {
	d.t.Helper()
	testenv.Eventually(d.t, time.Minute, func() error {
		var events, targets int
		err := db.QueryRowContext(d.t.Context(), `SELECT (SELECT count(*) FROM outbox WHERE failed_at IS NULL),
			(SELECT count(*) FROM (SELECT target_id FROM deliveries WHERE state = 'pending' GROUP BY target_id HAVING max(attempts) = 0) AS untried)`).Scan(&events, &targets)
		if err == nil && events+targets > 0 {
			err = fmt.Errorf("%d events are left, %d targets were never tried", events, targets)
		}
		return err
	}, "not all is tried")
	if _, err := db.ExecContext(d.t.Context(), "UPDATE deliveries SET attempts = 0"); err != nil {
		d.t.Fatal(err)
	}
}

// failedBy checks that deliveries failed for these reasons.
func (d *deployment) failedBy(db *dbmodel.DB, reasons ...string) {
	d.t.Helper()
	for _, reason := range reasons {
		var n int
		if err := db.QueryRowContext(d.t.Context(), "SELECT count(*) FROM deliveries WHERE last_error LIKE ?", "%"+reason+"%").Scan(&n); err != nil || n == 0 {
			d.t.Errorf("no delivery failed because of %q: %v", reason, err)
		}
	}
}

// readEverything asks for all that can be asked for.
func (d *deployment) readEverything(shown map[string]string) {
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	d.call(http.MethodGet, "/api/openapi.json", nil, &doc)
	paths := []string{"/", "/healthz", "/readyz", "/metrics", "/products", "/product-groups", "/observations", "/deliveries", "/settings", "/users", "/users/alex", "/login", "/monitor/", "/monitor/api/queues", "/monitor/api/servers", "/monitor/api/redis_info"}
	for _, queue := range queue.All {
		for _, state := range []string{"pending", "active", "scheduled", "retry", "archived", "completed"} {
			paths = append(paths, "/monitor/api/queues/"+queue+"/"+state+"_tasks?size=1000")
		}
	}
	for id := range 20 {
		for _, page := range []string{"/products/%d", "/notifications/%d", "/observations/%d/explain"} {
			paths = append(paths, fmt.Sprintf(page, id+1))
		}
	}
	for path, methods := range doc.Paths {
		if methods["get"] == nil || strings.HasSuffix(path, "/stream") {
			continue
		}
		for id := range 20 {
			paths = append(paths, strings.NewReplacer("{id}", fmt.Sprint(id+1), "{username}", "alex").Replace(path))
		}
		paths = append(paths, path+"?limit=250")
	}
	for _, path := range paths {
		status, answer, err := d.try(http.MethodGet, path, nil)
		if err != nil || status >= 500 {
			d.t.Errorf("%s: %d %s %v", path, status, answer, err)
		}
		shown["GET "+path] = fmt.Sprint(status, " ", string(answer))
	}
}
