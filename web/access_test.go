package web_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// Callers of the matrix, in the order of its columns. The token of ingest belongs to the administrator: what its user may
// does not count.
var matrixCallers = []string{"anonymous", "ingest", "outsider", "reader", "groupreader", "maintainer", "owner", "administrator"}

// matrixRow is one call and what each caller is answered. In path and body {id} is the thing that the path is about, {n}
// product, group and observation, {notification} and {delivery} what hangs on them, and {username} a member of product and
// group. No caller finds a world in which another one has changed something.
type matrixRow struct {
	call, body string
	want       [8]int
}

const (
	readings = `{"observations":[{"id":{n},"product_id":{n},"title":"t","severity":"Low","status":"Open","priority":null,"parser_type":"SCA"}]}`
	mailTo   = `{"notification_email_to":"alex@example.com"}`
	teamMail = `"contacts":[{"channel":"email","address":"team@example.com"}]`
)

// matrix has every call of the API: one that is missing fails TestOpenAPI.
var matrix = []matrixRow{
	{"GET /products", "", [8]int{401, 200, 200, 200, 200, 200, 200, 200}},
	{"GET /products/{id}", "", [8]int{401, 200, 404, 200, 200, 200, 200, 200}},
	{"PUT /products/{id}", mailTo, [8]int{401, 200, 404, 403, 403, 200, 200, 200}},
	{"PUT /products/{id}", `{"id":{n},"name":"product {n}","product_group_id":{n},"notification_email_to":""}`, [8]int{401, 200, 404, 403, 403, 200, 200, 200}},
	{"PUT /products/{id}", `{"name":"another"}`, [8]int{401, 200, 404, 403, 403, 403, 403, 200}},
	{"PUT /products/{id}", `{"product_group_id":null}`, [8]int{401, 200, 404, 403, 403, 403, 403, 200}},
	{"PUT /products/{id}", `{"product_group_id":9007199254740991}`, [8]int{401, 422, 404, 403, 403, 403, 403, 422}},
	{"DELETE /products/{id}", "", [8]int{401, 204, 403, 403, 403, 403, 403, 204}},
	{"PUT /products/{id}/security-gate", `{"passed":false}`, [8]int{401, 202, 403, 403, 403, 403, 403, 202}},
	{"POST /products/{id}/test-notification", `{"channel":"email"}`, [8]int{401, 403, 404, 403, 403, 200, 200, 200}},
	{"POST /products/{id}/evaluate", "", [8]int{401, 202, 404, 403, 403, 202, 202, 202}},
	{"POST /products/{id}/preview", `{"settings":{}}`, [8]int{401, 403, 404, 403, 403, 200, 200, 200}},
	{"POST /products/{id}/preview", `{"subscription":{}}`, [8]int{401, 403, 404, 403, 403, 200, 200, 200}},
	{"POST /products/{id}/preview", `{"subscription":{"username":"me"}}`, [8]int{401, 403, 404, 200, 200, 200, 200, 200}},
	{"GET /products/{id}/members", "", [8]int{401, 200, 404, 200, 200, 200, 200, 200}},
	{"PUT /products/{id}/members/{username}", `{"role":"owner"}`, [8]int{401, 204, 404, 403, 403, 403, 204, 204}},
	{"PUT /products/{id}/members/nobody", `{"role":"owner"}`, [8]int{401, 404, 404, 403, 403, 403, 404, 404}},
	{"DELETE /products/{id}/members/{username}", "", [8]int{401, 204, 404, 403, 403, 403, 204, 204}},

	{"GET /product-groups", "", [8]int{401, 200, 200, 200, 200, 200, 200, 200}},
	{"GET /product-groups/{id}", "", [8]int{401, 200, 404, 200, 200, 200, 200, 200}},
	{"PUT /product-groups/{id}", mailTo, [8]int{401, 200, 404, 403, 403, 403, 403, 200}},
	{"DELETE /product-groups/{id}", "", [8]int{401, 204, 403, 403, 403, 403, 403, 204}},
	{"POST /product-groups/{id}/evaluate", "", [8]int{401, 202, 404, 403, 403, 403, 403, 202}},
	{"GET /product-groups/{id}/members", "", [8]int{401, 200, 404, 404, 200, 404, 404, 200}},
	{"PUT /product-groups/{id}/members/{username}", `{"role":"owner"}`, [8]int{401, 204, 404, 403, 403, 403, 403, 204}},
	{"DELETE /product-groups/{id}/members/{username}", "", [8]int{401, 204, 404, 403, 403, 403, 403, 204}},

	{"GET /users", "", [8]int{401, 200, 403, 403, 403, 403, 403, 200}},
	{"GET /users/{username}", "", [8]int{401, 200, 403, 403, 403, 403, 403, 200}},
	{"PUT /users/{username}", `{"full_name":"Alex"}`, [8]int{401, 200, 403, 403, 403, 403, 403, 200}},
	{"PUT /users/{username}", `{"is_admin":true}`, [8]int{401, 403, 403, 403, 403, 403, 403, 200}},
	{"PUT /users/new-{n}", `{"is_admin":true}`, [8]int{401, 403, 403, 403, 403, 403, 403, 200}},
	{"PUT /users/administrator", `{"full_name":"{n}"}`, [8]int{401, 403, 403, 403, 403, 403, 403, 200}},
	{"PUT /users/automation", `{}`, [8]int{401, 403, 403, 403, 403, 403, 403, 403}},
	{"DELETE /users/{username}", "", [8]int{401, 204, 403, 403, 403, 403, 403, 204}},
	{"DELETE /users/automation", "", [8]int{401, 403, 403, 403, 403, 403, 403, 403}},

	{"POST /observations", readings, [8]int{401, 202, 403, 403, 403, 403, 403, 202}},
	{"GET /observations", "", [8]int{401, 200, 200, 200, 200, 200, 200, 200}},
	{"GET /observations/{id}", "", [8]int{401, 200, 404, 200, 200, 200, 200, 200}},
	{"DELETE /observations/{id}", "", [8]int{401, 204, 403, 403, 403, 403, 403, 204}},
	{"GET /observations/{id}/explain", "", [8]int{401, 403, 404, 200, 200, 200, 200, 200}},
	{"POST /observations/{id}/evaluate", "", [8]int{401, 202, 404, 403, 403, 202, 202, 202}},
	{"POST /exceptions", `{"class":"ValueError"}`, [8]int{401, 202, 403, 403, 403, 403, 403, 202}},
	{"POST /task-exceptions", `{"class":"ValueError","function":"import"}`, [8]int{401, 202, 403, 403, 403, 403, 403, 202}},

	{"GET /notifications", "", [8]int{401, 403, 200, 200, 200, 200, 200, 200}},
	{"GET /notifications/{id}", "", [8]int{401, 403, 404, 200, 200, 200, 200, 200}},
	{"POST /notifications/{id}/viewed", "", [8]int{401, 403, 404, 204, 204, 204, 204, 204}},
	{"POST /notifications/viewed", `{"ids":[{notification}]}`, [8]int{401, 403, 204, 204, 204, 204, 204, 204}},
	{"POST /notifications/viewed", `{"until":"2020-01-01T00:00:00Z"}`, [8]int{401, 403, 204, 204, 204, 204, 204, 204}},
	{"DELETE /notifications/{id}", "", [8]int{401, 403, 404, 403, 403, 403, 204, 204}},
	{"POST /notifications/delete", `{"ids":[{notification}]}`, [8]int{401, 403, 204, 403, 403, 403, 204, 204}},
	{"POST /notifications/delete", `{"filter":{"product_id":{n}}}`, [8]int{401, 403, 202, 403, 403, 403, 202, 202}},
	{"POST /notifications/{id}/deliver", "", [8]int{401, 403, 404, 403, 403, 202, 202, 202}},
	{"GET /notifications/unread-count", "", [8]int{401, 403, 200, 200, 200, 200, 200, 200}},
	{"GET /notifications/stream", "", [8]int{401, 403, 200, 200, 200, 200, 200, 200}},
	{"GET /deliveries", "", [8]int{401, 403, 200, 200, 200, 200, 200, 200}},
	{"POST /deliveries/{id}/resend", "", [8]int{401, 403, 404, 403, 403, 202, 202, 202}},
	{"POST /deliveries/resend", `{"state":"failed"}`, [8]int{401, 403, 202, 202, 202, 202, 202, 202}},

	{"GET /subscriptions", "", [8]int{401, 403, 200, 200, 200, 200, 200, 200}},
	{"POST /subscriptions", `{"username":"me","contacts":[{"channel":"email"}]}`, [8]int{401, 403, 201, 201, 201, 201, 201, 201}},
	{"POST /subscriptions", `{"username":"me","product_id":{n},"contacts":[{"channel":"email"}]}`, [8]int{401, 403, 422, 201, 201, 201, 201, 201}},
	{"POST /subscriptions", `{"username":"me","product_group_id":{n},"contacts":[{"channel":"email"}]}`, [8]int{401, 403, 422, 201, 201, 201, 201, 201}},
	{"POST /subscriptions", `{"username":"administrator","contacts":[{"channel":"email"}]}`, [8]int{401, 403, 422, 422, 422, 422, 422, 201}},
	{"POST /subscriptions", `{"product_id":{n},` + teamMail + `}`, [8]int{401, 403, 422, 403, 403, 201, 201, 201}},
	{"POST /subscriptions", `{"product_group_id":{n},` + teamMail + `}`, [8]int{401, 403, 422, 403, 403, 403, 403, 201}},
	{"POST /subscriptions", `{` + teamMail + `}`, [8]int{401, 403, 403, 403, 403, 403, 403, 201}},
	{"GET /subscriptions/{id}", "", [8]int{401, 403, 404, 200, 200, 200, 200, 200}},
	{"PATCH /subscriptions/{id}", `{"enabled":false}`, [8]int{401, 403, 404, 403, 403, 200, 200, 200}},
	{"PATCH /subscriptions/{id}", `{"product_id":null}`, [8]int{401, 403, 404, 403, 403, 403, 403, 200}},
	{"DELETE /subscriptions/{id}", "", [8]int{401, 403, 404, 403, 403, 204, 204, 204}},
	{"POST /subscriptions/{id}/test", `{"channel":"email"}`, [8]int{401, 403, 404, 403, 403, 200, 200, 200}},
	{"POST /subscriptions/{id}/rotate-secret", `{"contact":{contact}}`, [8]int{401, 403, 404, 403, 403, 200, 200, 200}},

	{"GET /settings", "", [8]int{401, 403, 403, 403, 403, 403, 403, 200}},
	{"PATCH /settings", `{}`, [8]int{401, 403, 403, 403, 403, 403, 403, 200}},
	{"POST /settings/test-notification", `{"channel":"slack"}`, [8]int{401, 403, 403, 403, 403, 403, 403, 200}},
	{"GET /periodic-tasks", "", [8]int{401, 403, 403, 403, 403, 403, 403, 200}},
	{"GET /failed-events", "", [8]int{401, 403, 403, 403, 403, 403, 403, 200}},
	{"POST /failed-events/retry", `{}`, [8]int{401, 403, 403, 403, 403, 403, 403, 202}},
	{"DELETE /failed-events/{id}", "", [8]int{401, 403, 403, 403, 403, 403, 403, 404}},
	{"GET /status", "", [8]int{401, 403, 403, 403, 403, 403, 403, 200}},
}

// outside are the routes that are no calls of the API.
var outside = []matrixRow{
	{"GET /monitor/", "", [8]int{401, 403, 403, 403, 403, 403, 403, 200}},
	{"GET /monitor/api/queues", "", [8]int{401, 403, 403, 403, 403, 403, 403, 200}},
	{"GET /api/openapi.json", "", [8]int{200, 200, 200, 200, 200, 200, 200, 200}},
	{"GET /api/", "", [8]int{200, 200, 200, 200, 200, 200, 200, 200}},
	{"GET /api/calls/putProduct", "", [8]int{200, 200, 200, 200, 200, 200, 200, 200}},
	{"GET /api/calls/nothing", "", [8]int{404, 404, 404, 404, 404, 404, 404, 404}},
	{"GET /api/types/Severity", "", [8]int{200, 200, 200, 200, 200, 200, 200, 200}},
	{"GET /api/types/nothing", "", [8]int{404, 404, 404, 404, 404, 404, 404, 404}},
	{"GET /healthz", "", [8]int{200, 200, 200, 200, 200, 200, 200, 200}},
	{"GET /readyz", "", [8]int{200, 200, 200, 200, 200, 200, 200, 200}},
	{"GET /metrics", "", [8]int{200, 200, 200, 200, 200, 200, 200, 200}},
	{"POST /login", "username={username}", [8]int{401, 401, 401, 401, 401, 401, 401, 401}},
	{"GET /nothing", "", [8]int{404, 404, 404, 404, 404, 404, 404, 404}},
	{"GET /api/v1/nothing", "", [8]int{401, 404, 404, 404, 404, 404, 404, 404}},
}

// calls are all calls of the matrix, as the OpenAPI document names them, and whether they have a body.
func calls() (sorted []string, bodies map[string]bool) {
	bodies = map[string]bool{}
	for _, row := range matrix {
		bodies[matrixCall(row)] = row.body != ""
	}
	for c := range bodies {
		sorted = append(sorted, c)
	}
	slices.Sort(sorted)
	return sorted, bodies
}

// matrixCall is the call of a row, as the OpenAPI document names it.
func matrixCall(row matrixRow) string {
	method, path, _ := strings.Cut(row.call, " ")
	for _, example := range []string{"/nobody", "/administrator", "/automation", "/new-{n}"} {
		path = strings.Replace(path, example, "/{username}", 1)
	}
	return method + " /api/v1" + path
}

// TestMatrix asks every call as every caller.
func TestMatrix(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		c := e.cast()
		w := c.world()
		try := func(row matrixRow, root string) {
			method, path, _ := strings.Cut(row.call, " ")
			for i, caller := range matrixCallers {
				r := e.ask(method, root+w.fill(path, path), w.fill(row.body, path), c.tokens[caller])
				if r.status != row.want[i] {
					t.Errorf("%s %s: %s is answered %d instead of %d: %.300s", row.call, row.body, caller, r.status, row.want[i], r.text)
				}
				if method != http.MethodGet && (r.status < 400 || path == "/login") { // log-ins that fail are counted
					w = c.world()
				}
			}
		}
		for _, row := range matrix {
			try(row, "/api/v1")
		}
		for _, row := range slices.Concat(outside, pages) {
			try(row, "")
		}
	})
}

// TestHiddenIsAsMissing: what one may not see is answered like what does not exist, word for word.
func TestHiddenIsAsMissing(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		c := e.cast()
		hidden, missing := c.world(), world{9007199254740000, 9007199254740000, 9007199254740000, 9007199254740000, 9007199254740000}
		for i, row := range slices.Concat(matrix, pages) {
			method, path, _ := strings.Cut(row.call, " ")
			root := "/api/v1"
			if i >= len(matrix) {
				root = ""
			}
			ask := func(w world) *reply {
				return e.ask(method, root+w.fill(strings.Replace(path, "{username}", "reader", 1), path), w.fill(row.body, path), c.tokens["outsider"])
			}
			if a, b := ask(hidden), ask(missing); a.status != b.status || a.status >= 400 && a.text != b.text {
				t.Errorf("%s %s: hidden %d %s, missing %d %s", row.call, row.body, a.status, a.text, b.status, b.text)
			}
		}
	})
}

// ask is send that does not wait for the end of a stream.
func (e *env) ask(method, path, body, token string) *reply {
	e.t.Helper()
	if !strings.HasSuffix(path, "/stream") {
		if body == "" {
			return e.send(method, path, nil, "Authorization", token)
		}
		if body[0] != '{' {
			return e.send(method, path, body, "Authorization", token, "Content-Type", "application/x-www-form-urlencoded")
		}
		return e.send(method, path, body, "Authorization", token)
	}
	ctx, cancel := context.WithCancel(e.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, e.server.URL+path, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	res, err := e.client.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer res.Body.Close()
	return &reply{status: res.StatusCode, header: res.Header}
}

// cast are the callers of an env.
type cast struct {
	e       *env
	tokens  map[string]string // headers
	targets []int64
	worlds  int64
}

func (e *env) cast() *cast {
	e.t.Helper()
	c := &cast{e: e, tokens: map[string]string{"anonymous": ""}, targets: e.targets(rule.Slack, slackURL)}
	for _, name := range matrixCallers[2:] {
		e.user(name, name == "administrator")
		c.tokens[name] = "Bearer " + e.token(name, dbmodel.ScopeUser)
	}
	c.tokens["ingest"] = "Bearer " + e.token("administrator", dbmodel.ScopeIngest)
	return c
}

func (e *env) user(name string, admin bool) int64 {
	e.t.Helper()
	if _, err := dbmodel.AddUser(e.t.Context(), e.db, name); err != nil {
		e.t.Fatal(err)
	}
	u, err := dbmodel.UserByName(e.t.Context(), e.db, name)
	if err != nil {
		e.t.Fatal(err)
	}
	u.IsAdmin = admin
	if err := dbmodel.SaveUser(e.t.Context(), e.db, u); err != nil {
		e.t.Fatal(err)
	}
	return u.ID
}

func (e *env) token(name string, scope dbmodel.Scope) string {
	e.t.Helper()
	u, err := dbmodel.UserByName(e.t.Context(), e.db, name)
	if err != nil {
		e.t.Fatal(err)
	}
	token, _, err := dbmodel.CreateToken(e.t.Context(), e.db, u.ID, scope, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	return token
}

func (e *env) member(in dbmodel.Membership, name string, role rule.Role) {
	e.t.Helper()
	u, err := dbmodel.UserByName(e.t.Context(), e.db, name)
	if err == nil {
		err = dbmodel.SetMember(e.t.Context(), e.db, in, u.ID, role)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// world is a product in a group with an observation, all with the same id, a notification with a failed delivery, and a
// subscription of the product's team with a signed webhook.
type world struct{ id, notification, delivery, subscription, contact int64 }

// world makes one in which the members of the cast have the roles of their names, groupreader through the group alone.
func (c *cast) world() world {
	e := c.e
	e.t.Helper()
	c.worlds++
	w := world{id: c.worlds}
	exec := func(query string, args ...any) {
		if _, err := e.db.DB.DB.ExecContext(e.t.Context(), query, args...); err != nil {
			e.t.Fatal(err)
		}
	}
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		group := &dbmodel.ProductGroup{ID: w.id, Name: fmt.Sprintf("group %d", w.id)}
		product := &dbmodel.Product{ID: w.id, Name: fmt.Sprintf("product %d", w.id), ProductGroupID: &w.id}
		if err := dbmodel.SaveProductGroup(ctx, tx, group); err != nil {
			return err
		}
		if err := dbmodel.SaveProduct(ctx, tx, product); err != nil {
			return err
		}
		holder := rule.Holder{Kind: rule.HolderProduct, ID: w.id}
		return dbmodel.SetContacts(ctx, tx, holder, rule.Slack, []rule.Contact{{Target: c.targets[0]}})
	})
	if err != nil {
		e.t.Fatal(err)
	}
	exec(`INSERT INTO observations (id, product_id, title, title_hash, severity, status, parser_type) VALUES ($1, $1, 't', 1, 'High', 'Open', 'SCA')`, w.id)
	e.notify(dbmodel.NewNotification{
		Notification: dbmodel.Notification{Type: rule.TypeSecurityGate, Event: rule.EventFailed, Name: "gate", ProductID: &w.id}, Targets: c.targets,
	})
	exec(`UPDATE deliveries SET state = 'failed' WHERE state = 'pending'`)
	if err := e.db.DB.DB.QueryRowContext(e.t.Context(), "SELECT max(notification_id), max(id) FROM deliveries").Scan(&w.notification, &w.delivery); err != nil {
		e.t.Fatal(err)
	}
	err = e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		sub := &dbmodel.Subscription{Name: "team", ProductID: &w.id, Timezone: "UTC"}
		if err := dbmodel.AddSubscription(ctx, tx, sub); err != nil {
			return err
		}
		w.subscription = sub.ID
		return dbmodel.SetSubscriptionContacts(ctx, tx, e.vault, sub, []dbmodel.ContactChange{
			{Channel: rule.Webhook, Address: "https://receiver.example/hook", Secret: "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},
		})
	})
	if err != nil {
		e.t.Fatal(err)
	}
	contacts, err := dbmodel.SubscriptionContacts(e.t.Context(), e.db, w.subscription)
	if err != nil {
		e.t.Fatal(err)
	}
	w.contact = contacts[w.subscription][0].ID
	e.user(w.member(), false)
	e.member(dbmodel.InProduct(w.id), w.member(), rule.Reader)
	e.member(dbmodel.InProductGroup(w.id), w.member(), rule.Reader)
	e.member(dbmodel.InProductGroup(w.id), "groupreader", rule.Reader)
	for _, role := range []rule.Role{rule.Reader, rule.Maintainer, rule.Owner} {
		e.member(dbmodel.InProduct(w.id), string(role), role)
	}
	return w
}

func (w world) member() string { return fmt.Sprintf("member-%d", w.id) }

// fill puts the world into a path or a body; {id} is what path is about.
func (w world) fill(text, path string) string {
	id := w.id
	switch {
	case strings.HasPrefix(path, "/notifications/"):
		id = w.notification
	case strings.HasPrefix(path, "/deliveries/"):
		id = w.delivery
	case strings.HasPrefix(path, "/subscriptions/"):
		id = w.subscription
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return strings.NewReplacer("{id}", number(id), "{n}", number(w.id), "{notification}", number(w.notification), "{delivery}", number(w.delivery),
		"{contact}", number(w.contact), "{username}", w.member()).Replace(text)
}
