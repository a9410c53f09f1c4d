package web_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// What is there when the pages are measured.
const (
	storedNotifications = 1_000_000
	storedProducts      = 500
	storedGroups        = 25
	quietProduct        = storedProducts + 1 // has three notifications, the oldest ones
)

// BenchmarkPages measures what people look at, at a million notifications of one year, over both databases: for
//   - administrator, who has viewed nothing, and reader, another one who has viewed everything;
//   - member of 20 products, 10 of them by a group, who sees all types that members can see, about 36,000 notifications, and
//     has viewed the newest 1,000 one by one;
//   - everywhere, a member of all groups, and quiet, of one product that has nothing but three notifications, the oldest.
//
// Times are those of whole requests; on a busy machine the least one says what a page costs. x-first is how much longer the
// last page of the inbox takes than the first one, measured in turns.
func BenchmarkPages(b *testing.B) {
	b.Run("postgres", func(b *testing.B) { measurePages(b, testenv.PostgresDB(b)) })
	b.Run("sqlite", func(b *testing.B) { measurePages(b, testenv.SQLiteDB(b)) })
}

func measurePages(b *testing.B, db *dbmodel.DB) {
	e := newEnv(b, db)
	e.fill()
	for _, who := range []string{"administrator", "reader", "member", "everywhere", "quiet"} {
		b.Run(who, func(b *testing.B) { e.measure(b, who) })
	}
}

// measure measures all pages for one user.
func (e *env) measure(b *testing.B, who string) {
	b.Helper()
	v := e.visitor(who)
	product := 1
	if who == "quiet" {
		product = quietProduct
	}
	cursor := func(i int) string {
		n, err := dbmodel.NotificationByID(b.Context(), e.db, int64(i))
		if err != nil {
			b.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "-created_at %d %d", n.CreatedAt.UnixMicro(), n.ID))
	}
	last := "/?viewed=all&cursor=" + cursor(2_000)
	for _, p := range []struct{ name, path string }{
		{"inbox", "/?viewed=all"},
		{"inbox/middle", "/?viewed=all&cursor=" + cursor(storedNotifications/2)},
		{"inbox/last", last},
		{"inbox/not-viewed", "/"},
		{"inbox/viewed", "/?viewed=true"},
		{"inbox/product", fmt.Sprintf("/?viewed=all&product_id=%d", product)},
		{"inbox/product-not-viewed", fmt.Sprintf("/?product_id=%d", product)},
		{"inbox/type", "/?viewed=all&type=task"},
		{"inbox/type-rare", "/?viewed=all&type=exception"},
		{"inbox/event", "/?viewed=all&event=failed"},
		{"inbox/event-never", "/?viewed=all&event=dropped"},
		{"inbox/user", "/?viewed=all&user=nobody"},
		{"inbox/day", "/?viewed=all&since=" + day(100) + "&until=" + day(100)},
		{"inbox/search", "/?viewed=all&q=package-97"},
		{"inbox/search-rare", "/?viewed=all&q=in+package-976+of"},
		{"inbox/search-nothing", "/?viewed=all&q=no+such+thing"},
		{"inbox/search-type", "/?viewed=all&type=task&q=no+such+thing"},
		{"unread-count", "/api/v1/notifications/unread-count"},
		{"list-api", "/api/v1/notifications"},
		{"list-api/oldest", "/api/v1/notifications?sort=created_at"},
		{"deliveries", "/deliveries"},
		{"deliveries/last", "/deliveries?before=500"},
		{"deliveries/failed", "/deliveries?state=failed"},
		{"deliveries/pending", "/deliveries?state=pending"},
		{"deliveries/channel", "/deliveries?channel=ms_teams"},
		{"deliveries/product", fmt.Sprintf("/deliveries?product_id=%d", product)},
		{"products", "/products"},
		{"products/search", "/products?q=no+such"},
		{"product", fmt.Sprintf("/products/%d", product)},
		{"notification", fmt.Sprintf("/notifications/%d", e.newestOf(product))},
	} {
		b.Run(p.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				took = append(took, v.time(b, p.path))
			}
			for name, percent := range map[string]int{"least-ms": 0, "p50-ms": 50, "p99-ms": 99} {
				b.ReportMetric(float64(percentile(took, percent).Microseconds())/1000, name)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
	b.Run("inbox/last-in-turns", func(b *testing.B) {
		var firsts, lasts []time.Duration
		for b.Loop() {
			firsts, lasts = append(firsts, v.time(b, "/?viewed=all")), append(lasts, v.time(b, last))
		}
		b.ReportMetric(float64(percentile(lasts, 50))/float64(percentile(firsts, 50)), "x-first")
	})
}

// time opens a page as a browser does and returns how long it took to come.
func (v *visitor) time(b *testing.B, path string) time.Duration {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, v.e.server.URL+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Cookie", v.cookie)
	began := time.Now()
	res, err := v.e.client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK && res.StatusCode != http.StatusUnprocessableEntity { // the search was ended
		b.Fatalf("%s is answered %d, %v: %s\n%s", path, res.StatusCode, err, text, v.e.log)
	}
	return time.Since(began)
}

func percentile(took []time.Duration, p int) time.Duration {
	slices.Sort(took)
	return took[len(took)*p/100]
}

// day is a date so many days ago.
func day(ago int) string { return time.Now().AddDate(0, 0, -ago).Format(time.DateOnly) }

func (e *env) newestOf(product int) (id int64) {
	e.t.Helper()
	query := "SELECT max(id) FROM notifications WHERE product_id = ? AND type = 'security_gate'"
	if err := e.db.NewRaw(query, product).Scan(e.t.Context(), &id); err != nil {
		e.t.Fatal(err)
	}
	return id
}

// fill stores what is measured: notifications of all types in turns, a fifth of them with one or two deliveries, 5,000 of
// which wait for a target that fails.
func (e *env) fill() {
	e.t.Helper()
	var urls, addresses []string
	for i := range storedProducts {
		urls = append(urls, fmt.Sprintf("https://hooks.slack.com/services/T0/B0/%06d", i))
		addresses = append(addresses, fmt.Sprintf("team%d@example.com", i))
	}
	e.targets(rule.Email, addresses...) // 1 to 500
	e.targets(rule.Slack, urls...)      // 501 to 1,000
	sqlite := e.db.Reader != e.db.DB
	timeAgo, json := "clock_timestamp() - interval '1 second' *", "::jsonb"
	if sqlite {
		timeAgo, json = "unixepoch() * 1000000 - 1000000 *", ""
	}
	words := strings.NewReplacer("{ago}", timeAgo, "{json}", json, "{notifications}", fmt.Sprint(storedNotifications), "{products}", fmt.Sprint(storedProducts),
		"{groups}", fmt.Sprint(storedGroups), "{trace}", strings.Repeat("  File scanner.py, line 17, in scan\n", 20))
	for _, statement := range []string{
		`UPDATE settings SET member_notification_types = '["observation", "security_gate", "task"]'`,
		`INSERT INTO product_groups (id, name) WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {groups}) SELECT i, 'Group ' || i FROM s`,
		// The first group has 10 products.
		`INSERT INTO products (id, name, product_group_id, observation_notification_min_severity)
			WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i <= {products})
			SELECT i, 'Product ' || i, CASE WHEN i <= 10 THEN 1 ELSE i % ({groups} - 1) + 2 END, 'High' FROM s`,
		`INSERT INTO contacts (kind, product_id, channel, position, target_id, address)
			SELECT 'product', id, 'email', 1, (id - 1) % {products} + 1, 'team' || id || '@example.com' FROM products`,
		`INSERT INTO contacts (kind, product_id, channel, position, target_id)
			SELECT 'product', id, 'slack', 1, {products} + (id - 1) % {products} + 1 FROM products`,
		`INSERT INTO notifications (type, event, name, product_id, observation_id, before_severity, before_status, after_severity, after_status,
				after_priority, facts, message, function, username, arguments, trace, created_at)
			WITH RECURSIVE s(i) AS (SELECT CAST(1 AS bigint) UNION ALL SELECT i + 1 FROM s WHERE i < {notifications}),
			mixed AS (SELECT i, CASE WHEN i <= 3 THEN {products} + 1 ELSE i * 7919 % {products} + 1 END AS product, CASE WHEN i <= 3 THEN 80 ELSE (i / {products} * 37 + i) % 100 END AS kind FROM s),
			typed AS (SELECT i, product, CASE WHEN kind < 70 THEN 'observation' WHEN kind < 80 THEN 'observation_title'
				WHEN kind < 92 THEN 'security_gate' WHEN kind < 99 OR i % 10 > 0 THEN 'task' ELSE 'exception' END AS type FROM mixed),
			seen AS (SELECT i, product, type, type IN ('observation', 'observation_title') AS rated, type IN ('task', 'exception') AS raised FROM typed)
			SELECT type, CASE WHEN type = 'security_gate' THEN CASE WHEN i % 3 = 0 THEN 'failed' ELSE 'passed' END WHEN rated THEN CASE WHEN i % 7 = 0 THEN 'changed' ELSE 'new' END END,
				CASE WHEN rated THEN 'CVE-2026-' || i || ' in package-' || (i % 977) || ' of the base image' WHEN raised THEN 'TimeoutError' ELSE 'Product ' || product END,
				CASE WHEN type NOT IN ('observation_title', 'exception') THEN product END, CASE WHEN type = 'observation' THEN i END,
				CASE WHEN rated AND i % 7 = 0 THEN 'High' END, CASE WHEN rated AND i % 7 = 0 THEN 'Open' END, CASE WHEN rated THEN 'Critical' END,
				CASE WHEN rated THEN 'Open' END, CASE WHEN rated THEN i % 99 + 1 END,
				('{"product_name":"Product ' || product || '","product_group_name":"Group 1","observation_title":"CVE-2026-' || i || '","parser_type":"SCA",' ||
					'"vulnerability_id":"CVE-2026-' || i || '","cvss_score":7.5,"origin":{"component":"package-' || (i % 977) || ':1.2.3"}}'){json},
				CASE WHEN raised THEN 'the scanner did not answer within 30 seconds' ELSE '' END, CASE WHEN raised THEN 'import_observations' ELSE '' END,
				CASE WHEN type = 'task' THEN 'alex' || (i % 50) ELSE '' END, CASE WHEN type = 'task' THEN ('{"product":' || product || '}'){json} END,
				CASE WHEN raised THEN '{trace}' ELSE '' END, {ago} (({notifications} - i) * 31) FROM seen`,
		`INSERT INTO deliveries (notification_id, product_id, type, target_id, state, attempts, last_error)
			SELECT id, product_id, type, CASE WHEN id > 975000 THEN 7 ELSE coalesce(product_id, 1) END, CASE WHEN id > 975000 THEN 'pending' WHEN id % 1000 = 0 THEN 'failed' ELSE 'sent' END, 1,
				CASE WHEN id > 975000 OR id % 1000 = 0 THEN 'the mail server answered 451' ELSE '' END FROM notifications WHERE id % 5 = 0`,
		`INSERT INTO deliveries (notification_id, product_id, type, target_id, state, attempts, sent_at)
			SELECT id, product_id, type, {products} + coalesce(product_id, 1), 'sent', 1, created_at FROM notifications WHERE id % 10 = 0`,
		`UPDATE targets SET failing_since = {ago} 3600, failures = 5 WHERE id = 7`,
	} {
		if _, err := e.db.DB.DB.ExecContext(e.t.Context(), words.Replace(statement)); err != nil {
			e.t.Fatal(err)
		}
	}
	e.user("administrator", true)
	e.user("reader", true)
	e.user("quiet", false)
	e.user("everywhere", false)
	member := dbmodel.Viewer{UserID: e.user("member", false)}
	e.member(dbmodel.InProduct(quietProduct), "quiet", rule.Owner)
	e.member(dbmodel.InProductGroup(1), "member", rule.Reader)
	for i := range int64(storedGroups) {
		e.member(dbmodel.InProductGroup(i+1), "everywhere", rule.Reader)
	}
	for i := range int64(10) {
		e.member(dbmodel.InProduct(20+i*37), "member", rule.Maintainer)
	}
	e.exec("INSERT INTO notification_views (user_id, notification_id) SELECT ?, n.id FROM notifications n WHERE ? ORDER BY n.created_at DESC LIMIT 1000",
		member.UserID, bun.Safe(dbmodel.VisibleNotifications(e.db, member, "n")))
	e.exec("UPDATE users SET viewed_until = ? WHERE username = 'reader'", time.Now())
	if !sqlite {
		e.exec("VACUUM ANALYZE") // as autovacuum does
	}
}
