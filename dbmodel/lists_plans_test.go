package dbmodel_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// manyRows is 20,000 notifications and as many observations of 200 products, of which few are rare: an event, a type, a severity
// and a user.
var manyRows = []string{
	`INSERT INTO products (id, name) WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 200)
		SELECT i, 'Product' FROM s`,
	`INSERT INTO notifications (type, event, name, product_id, after_severity, username)
		WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 20000)
		SELECT CASE WHEN i % 2000 = 7 THEN 'security_gate' ELSE 'observation' END,
			CASE WHEN i % 2000 = 7 THEN 'failed' ELSE 'new' END, 'Name', i % 200 + 1,
			CASE WHEN i % 2000 = 9 THEN 'Critical' ELSE 'High' END, CASE WHEN i % 2000 = 11 THEN 'alex' ELSE '' END FROM s`,
	`INSERT INTO observations (id, product_id, title, title_hash, severity, status, parser_type)
		WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 20000)
		SELECT i, i % 200 + 1, 'Title', 1, CASE WHEN i % 2000 = 9 THEN 'Critical' ELSE 'High' END, 'Open', 'SCA' FROM s`,
	`INSERT INTO digests (id, content, notifications) VALUES (1, '{}', '[4, 7, 9]')`,
	`INSERT INTO users (username) VALUES ('alex')`,
	`INSERT INTO product_members (user_id, product_id, role) SELECT id, 5, 'reader' FROM users WHERE username = 'alex'`,
	`ANALYZE`,
}

// statements notes the statements that bun runs.
type statements struct{ list []string }

func (s *statements) BeforeQuery(ctx context.Context, e *bun.QueryEvent) context.Context {
	s.list = append(s.list, e.Query)
	return ctx
}

func (s *statements) AfterQuery(context.Context, *bun.QueryEvent) {}

// TestRareRowsAreFound: a list whose filter few rows pass is read from the index of that filter, or that of the products of a
// member, and never from the whole table.
func TestRareRowsAreFound(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		for _, s := range manyRows {
			if db.Dialect().Name() != dialect.PG && s == "ANALYZE" {
				continue // it keeps no statistics here
			}
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
		u, err := dbmodel.UserByName(t.Context(), db, "alex")
		if err != nil {
			t.Fatal(err)
		}
		admin, member := dbmodel.Viewer{Admin: true, UserID: u.ID}, u.Viewer()
		critical := []rule.Severity{rule.Critical}
		primaryKey := "PRIMARY KEY"
		if db.Dialect().Name() == dialect.PG {
			primaryKey = "notifications_pkey"
		}
		for name, c := range map[string]struct {
			viewer dbmodel.Viewer
			filter dbmodel.NotificationFilter
			index  string
		}{
			"all":          {admin, dbmodel.NotificationFilter{}, "notifications_created_at"},
			"oldest first": {admin, dbmodel.NotificationFilter{OldestFirst: true}, "notifications_created_at"},
			"unviewed":     {admin, dbmodel.NotificationFilter{Viewed: new(false)}, "notifications_created_at"},
			"type":         {admin, dbmodel.NotificationFilter{Type: rule.TypeSecurityGate}, "notifications_type"},
			"event":        {admin, dbmodel.NotificationFilter{Event: rule.EventFailed}, "notifications_event"},
			"severity":     {admin, dbmodel.NotificationFilter{Severities: critical}, "notifications_severity"},
			"user":         {admin, dbmodel.NotificationFilter{User: "alex"}, "notifications_username"},
			"product":      {admin, dbmodel.NotificationFilter{ProductID: 5}, "notifications_product_id"},
			"product and severity": {
				admin, dbmodel.NotificationFilter{ProductID: 5, Severities: critical}, "notifications_product_id",
			},
			"group":               {admin, dbmodel.NotificationFilter{GroupID: 5}, "notifications_product_id"},
			"member":              {member, dbmodel.NotificationFilter{}, "notifications_product_id"},
			"member and severity": {member, dbmodel.NotificationFilter{Severities: critical}, "notifications_product_id"},
			"member and text":     {member, dbmodel.NotificationFilter{Contains: "none"}, "notifications_product_id"},
			"digest":              {admin, dbmodel.NotificationFilter{Digest: 1}, primaryKey},
			"member and digest":   {member, dbmodel.NotificationFilter{Digest: 1}, primaryKey},
		} {
			run := new(statements)
			if _, err := dbmodel.Notifications(t.Context(), db.WithQueryHook(run), c.viewer, c.filter, 50); err != nil {
				t.Fatal(err)
			}
			checkPlan(t, db, name, run.list[len(run.list)-1], c.index)
		}
		for name, c := range map[string]struct {
			viewer dbmodel.Viewer
			search dbmodel.ObservationSearch
		}{
			"product":              {admin, dbmodel.ObservationSearch{ProductID: 5}},
			"product and severity": {admin, dbmodel.ObservationSearch{ProductID: 5, Severities: critical}},
			"member":               {member, dbmodel.ObservationSearch{}},
			"member and severity":  {member, dbmodel.ObservationSearch{Severities: critical}},
			"member and text":      {member, dbmodel.ObservationSearch{Part: "none"}},
		} {
			statement, err := dbmodel.FoundObservations(t.Context(), db, c.viewer, c.search, 50)
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, db, "observations: "+name, statement, "observations_product_id")
		}
	})
}

// scan is a step of a plan that reads a table as a whole.
var scan = regexp.MustCompile(`Seq Scan on (notifications|observations)|SCAN (notifications|observations)( |$)`)

func checkPlan(t *testing.T, db *dbmodel.DB, name, statement, index string) {
	t.Helper()
	plan := planOf(t, db, statement, nil)
	whole := slices.ContainsFunc(strings.Split(plan, "\n"), func(step string) bool {
		return scan.MatchString(step) && !strings.Contains(step, index)
	})
	if whole || !strings.Contains(plan, index) {
		t.Errorf("%s: not read from %s:\n%s\n\n%s", name, index, statement, plan)
	}
}
