package web_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	r := e.want(200, "GET", "/api/openapi.json", nil, "Authorization", "")
	var doc struct {
		OpenAPI    string                               `json:"openapi"`
		Paths      map[string]map[string]map[string]any `json:"paths"`
		Components struct {
			Schemas map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(r.text), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("version %s", doc.OpenAPI)
	}
	want, bodies := calls()
	var got []string
	ids := map[any]bool{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			call := strings.ToUpper(method) + " " + path
			got = append(got, call)
			if ids[op["operationId"]] || op["summary"] == "" {
				t.Errorf("%s has the id %v, the summary %q", call, op["operationId"], op["summary"])
			}
			ids[op["operationId"]] = true
			if (op["requestBody"] != nil) != bodies[call] {
				t.Errorf("%s: body %v", call, op["requestBody"])
			}
			responses := op["responses"].(map[string]any)
			if _, ok := responses["default"].(map[string]any)["content"].(map[string]any)["application/problem+json"]; !ok {
				t.Errorf("%s documents no problem", call)
			}
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the calls of the matrix, and those of the document:\n%s", diff)
	}
	for _, ref := range strings.Split(r.text, `"$ref":"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(ref, `"`)
		if doc.Components.Schemas[name] == nil {
			t.Errorf("schema %s is missing", name)
		}
	}
	fields := doc.Components.Schemas["ProductFields"].(map[string]any)
	if fields["additionalProperties"] != false || len(fields["properties"].(map[string]any)) != 13 || fields["required"] != nil {
		t.Errorf("a product's fields: %v", fields)
	}
	if gate := doc.Components.Schemas["GateFields"].(map[string]any); !cmp.Equal(gate["required"], []any{"passed"}) {
		t.Errorf("a gate's fields: %v", gate)
	}
	if got := doc.Components.Schemas["Notification"].(map[string]any)["properties"].(map[string]any)["before"]; !strings.Contains(fmt.Sprint(got), "null") {
		t.Errorf("before may be null: %v", got)
	}
	statuses := fields["properties"].(map[string]any)["observation_notification_statuses"].(map[string]any)
	if !cmp.Equal(statuses["type"], []any{"array", "null"}) {
		t.Errorf("statuses: %v", statuses)
	}
	for _, body := range []struct {
		schema string
		fields []string
	}{
		{"ObservationBody", []string{"priority", "vulnerability_id", "cvss_score", "origin", "url", "known_exploited", "epss_score", "fixed_version", "branch", "service", "scanner"}}, // cvss_score is answered as null, and may be sent back
		{"ExceptionBody", []string{"message", "trace", "user", "function", "fingerprint"}},
		{"TaskExceptionBody", []string{"message", "arguments", "product_id", "observation_id"}},
	} {
		properties := doc.Components.Schemas[body.schema].(map[string]any)["properties"].(map[string]any)
		for _, name := range body.fields {
			if !strings.Contains(fmt.Sprint(properties[name]), "null") {
				t.Errorf("%s of %s may be null: %v", name, body.schema, properties[name])
			}
		}
	}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.product(1)
	all, _ := calls()
	for _, call := range append(all, "GET /api/v1/nothing", "POST /api/v1/", "GET /api/v1", "BREW /api/v1/products", "PUT /api/v1/products/x", "OPTIONS /api/v1/settings") {
		method, path, _ := strings.Cut(call, " ")
		path = strings.NewReplacer("{id}", "1", "{username}", "alex").Replace(path)
		for _, header := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Bearer " + adminToken + "x", "Bearer " + adminToken[1:], "Basic " + adminToken, adminToken, "Bearer x " + adminToken} {
			r := e.want(401, method, path, `{"name":"x"}`, "Authorization", header)
			if !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s: no challenge", call)
			}
		}
	}
	for _, header := range []string{"bearer " + adminToken, "BEARER  " + adminToken} {
		e.want(200, "GET", "/api/v1/products/1", nil, "Authorization", header)
	}
	e.want(404, "GET", "/api/v1/nothing", nil)
	e.want(404, "GET", "/nothing", nil)
	for _, path := range []string{"/api/v1/products/1", "/healthz"} {
		if got := e.want(405, "POST", path, `{}`).header.Get("Allow"); !strings.Contains(got, "GET") {
			t.Errorf("%s allows %q", path, got)
		}
	}
	if r := e.want(200, "GET", "/healthz", nil, "Authorization", ""); r.json["status"] != "ok" {
		t.Error(r.text)
	}
	if r := e.want(200, "GET", "/readyz", nil, "Authorization", ""); r.json["status"] != "ok" {
		t.Error(r.text)
	}
}

// TestReadyKnowsTheSchema takes the schema away from a running process.
func TestReadyKnowsTheSchema(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		if _, err := dbmodel.Rollback(t.Context(), e.db); err != nil {
			t.Fatal(err)
		}
		r := e.send("GET", "/readyz", nil, "Authorization", "")
		message, _ := r.json["message"].(string)
		if r.status != 503 || r.json["status"] != "unavailable" || r.json["database"] != "other schema" || !strings.Contains(message, "tocsin migrate up") {
			t.Errorf("%d %s", r.status, r.text)
		}
	})
}

// TestHead: what GET answers can be asked for without its body.
func TestHead(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.product(1)
	e.want(200, "HEAD", "/api/v1/products/1", nil)
}

func TestHeadersAndLog(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	r := e.want(200, "GET", "/api/v1/notifications?q=not-in-the-log", nil, "X-Secret", "not-in-the-log")
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "Content-Type": "application/json",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	id := r.header.Get("X-Request-Id")
	log := e.log.String()
	for _, want := range []string{`"request_id":"` + id + `"`, `"route":"GET /api/v1/notifications"`, `"status":200`, `"caller":"automation"`, fmt.Sprintf(`"bytes":%d`, len(r.text))} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s: %s", want, log)
		}
	}
	if strings.Contains(log, "not-in-the-log") || strings.Contains(log, adminToken) {
		t.Errorf("the log says too much: %s", log)
	}
}

// TestInternalError: the answer has no details, the log has them once.
func TestInternalError(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	if _, err := e.db.DB.DB.ExecContext(t.Context(), "ALTER TABLE deliveries RENAME TO gone"); err != nil {
		t.Fatal(err)
	}
	r := e.want(500, "GET", "/api/v1/deliveries", nil)
	if strings.Contains(r.text, "no such table") || !strings.Contains(r.text, r.header.Get("X-Request-Id")) {
		t.Error(r.text)
	}
	if got := strings.Count(e.log.String(), "no such table"); got != 1 {
		t.Errorf("the reason stands %d times in the log: %s", got, e.log)
	}
}

// TestWebhooksStaySecret puts the URL of a webhook wherever it can go wrong. Nothing repeats it.
func TestWebhooksStaySecret(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		const secret = "s3cr3t-of-the-webhook"
		for _, address := range []string{
			"https://hooks.slack.com/services/" + secret + "/a1b2",
			"https://10.1.2.3/" + secret + "/a1b2",
			"http://x.example/?sig=" + secret + "&x=a1b2",
			"https://user:" + secret + "@x.example/a1b2",
			"https://x.example:9/" + secret + "/a1b2#" + secret + "a1b2",
			"ftp://x.example/" + secret + "/a1b2",
			"https://hooks.slack.com/services/…" + secret,
			secret + " a1b2",
			"https://%zz/" + secret + "\x7f",
		} {
			in, _ := json.Marshal(address)
			quoted := string(in)
			webhooks := []string{"notification_ms_teams_webhook", "notification_slack_webhook"}
			for path, fields := range map[string][]string{
				"/api/v1/products/1": webhooks, "/api/v1/product-groups/1": webhooks,
				"/api/v1/settings": {"observation_title_notification_slack_webhook", "observation_title_notification_ms_teams_webhook", "exception_slack_webhook", "exception_ms_teams_webhook"},
			} {
				method := "PUT"
				if path == "/api/v1/settings" {
					method = "PATCH"
				}
				for _, f := range fields {
					field, _ := json.Marshal(f)
					for _, body := range []string{
						`{"name":"p",` + string(field) + `:` + quoted + `}`, `{` + string(field) + `:` + quoted + `}`, `{` + string(field) + `:[` + quoted + `]}`,
						`{` + string(field) + `:{"url":` + quoted + `}}`, `{` + string(field) + `:` + quoted, `{` + string(field) + `:` + quoted + `,` + string(field) + `:` + quoted + `}`,
						`{` + quoted + `:1}`, `{` + quoted + `:1,` + quoted + `:2}`, quoted, `[` + quoted + `]`, address, `{` + string(field) + `:` + address + `}`,
						`{"notification_email_to":` + quoted + `,"email_from":` + quoted + `,"cleanup_cron":` + quoted + `}`,
						`{"observation_notification_min_severity":` + quoted + `,"observation_notification_statuses":[` + quoted + `],"name":` + quoted + `}`,
						`{"notification_paused_until":` + quoted + `,"product_group_id":` + quoted + `,"digest_threshold":` + quoted + `}`,
					} {
						e.send(method, path, body)
					}
					e.send("GET", path, nil)
				}
				e.send(method, path+"?"+url.QueryEscape(address)+"="+url.QueryEscape(address), `{}`)
				e.send(method, path+"/"+url.PathEscape(address), `{}`)
			}
			e.send("POST", postPath, `{"observations":[{"id":`+quoted+`,`+quoted+`:1,"severity":`+quoted+`,"origin":{`+quoted+`:1}}]}`)
			e.send("POST", postPath, `{"id":`+quoted+`,`+quoted+`:1,"status":`+quoted+"}\n", "Content-Type", ndjson)
			e.send("POST", postPath, quoted+address, "Content-Type", ndjson)
			e.send("PUT", "/api/v1/products/1", `{}`, "Content-Type", "application/"+url.QueryEscape(address))
			e.send("PUT", "/api/v1/products/"+url.PathEscape(address), `{}`)
			e.send("GET", "/api/v1/notifications?limit="+url.QueryEscape(address)+"&cursor="+url.QueryEscape(address)+"&type="+url.QueryEscape(address)+"&since="+url.QueryEscape(address), nil)
			e.send("GET", "/api/v1/deliveries?"+url.QueryEscape(address), nil)
			e.send("GET", "/api/v1/products", nil, "Authorization", "Bearer "+url.QueryEscape(address))
		}
		n := named("x")
		n.Targets = e.targets(rule.Slack, "https://hooks.slack.com/services/"+secret+"/a1b2")
		e.notify(n)
		e.want(200, "GET", "/api/v1/notifications", nil)
		e.want(200, "GET", "/api/v1/deliveries", nil)
		if got := e.want(200, "GET", "/api/v1/products/1", nil).json["notification_slack_webhook"]; got != "https://hooks.slack.com/…a1b2" && got != "http://x.example/…a1b2" {
			t.Errorf("the webhook is shown as %v", got)
		}
		if strings.Contains(e.log.String(), secret) {
			t.Errorf("the log holds the secret: %s", firstLine(e.log.String(), secret))
		}
	})
}

// TestSealedWithLostKey: a webhook that cannot be opened any more does not take the rest with it.
func TestSealedWithLostKey(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	product := e.want(200, "PUT", "/api/v1/products/1", map[string]any{"name": "p", "notification_slack_webhook": slackURL}).json
	if _, err := e.db.DB.DB.ExecContext(t.Context(), "UPDATE targets SET address = x'00'"); err != nil {
		t.Fatal(err)
	}
	product["notification_slack_webhook"] = "…"
	if diff := cmp.Diff(product, e.want(200, "PUT", "/api/v1/products/1", product).json); diff != "" {
		t.Error(diff)
	}
	e.want(422, "PUT", "/api/v1/products/1", map[string]any{"notification_slack_webhook": "https://hooks.slack.com/…a1b2"})
}

// TestSlowBodyDoesNotHoldOthers: a request whose body does not come holds no connection to the database.
func TestSlowBodyDoesNotHoldOthers(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	body, sender := io.Pipe()
	done := make(chan *reply)
	go func() { done <- e.send(http.MethodPut, "/api/v1/products/1", io.Reader(body)) }()
	_, _ = io.WriteString(sender, `{"name":`)
	e.product(2)
	_, _ = io.WriteString(sender, `"slow"}`)
	_ = sender.Close()
	if r := <-done; r.status != 200 || r.json["name"] != "slow" {
		t.Error(r.text)
	}
}

// firstLine is the first line that holds part.
func firstLine(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}
