package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/internal/testenv/program"
)

const monitoring = "../../deploy/"

// scraper is a Prometheus that scrapes a deployment and evaluates the alert rules as they are, only sooner.
type scraper struct {
	t     testing.TB
	url   string
	rules string
}

func newScraper(t testing.TB, targets map[string]string) *scraper {
	t.Helper()
	text, err := os.ReadFile(monitoring + "prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules := filepath.Join(t.TempDir(), "alerts.yml")
	soon := regexp.MustCompile(`for: \d+m`).ReplaceAll(text, []byte("for: 1s"))
	if err := os.WriteFile(rules, soon, 0o600); err != nil {
		t.Fatal(err)
	}
	config := "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\n" +
		"rule_files: [" + rules + "]\nscrape_configs:\n"
	for role, address := range targets {
		config += fmt.Sprintf("- {job_name: tocsin-%s, static_configs: [{targets: [%q]}]}\n", role, address)
	}
	return &scraper{t, testenv.Prometheus(t, config), string(text)}
}

// ask asks the HTTP interface and reads the data of the answer.
func (p *scraper) ask(path string, query url.Values, data any) error {
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.url+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	answer, err := new(http.Client).Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", answer.Status, text)
	}
	return json.Unmarshal(text, &struct{ Data any }{data})
}

// series is one line of the answer to a query.
type series struct {
	Metric map[string]string
	Value  [2]any
}

func (p *scraper) query(expr string) (list []series, err error) {
	var data struct{ Result []series }
	err = p.ask("/api/v1/query", url.Values{"query": {expr}}, &data)
	return data.Result, err
}

// fires waits until exactly these alerts fire.
func (p *scraper) fires(want ...string) {
	p.t.Helper()
	slices.Sort(want)
	testenv.Eventually(p.t, time.Minute, func() error {
		var data struct {
			Alerts []struct {
				Labels map[string]string
				State  string
			}
		}
		if err := p.ask("/api/v1/alerts", nil, &data); err != nil {
			return err
		}
		var got []string
		for _, a := range data.Alerts {
			if a.State == "firing" {
				got = append(got, a.Labels["alertname"])
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
			return fmt.Errorf("firing (-want +got)\n%s", diff)
		}
		return nil
	}, "the alerts fire")
}

// TestAlertsAndDashboard runs a Prometheus beside the roles: the alerts are quiet while all is well and busy, the panels of the
// dashboard show something, and each alert fires in the situation that it is for.
func TestAlertsAndDashboard(t *testing.T) {
	t.Parallel()
	database, rd := testenv.PostgresURL(t, testenv.MigrateSchema), testenv.Redis(t)
	d := newDeployment(t, "DATABASE_URL="+database, "REDIS_URL="+rd.URL(), "TOCSIN_MONITOR_WRITE=true")
	targets := map[string]string{"web": strings.TrimPrefix(d.url, "http://")}
	run := func(role string) *process {
		targets[role] = "127.0.0.1:" + program.FreePort(t)
		return start(t, append(slices.Clip(d.env), "TOCSIN_METRICS_LISTEN="+targets[role]), role)
	}
	d.web, d.worker, d.scheduler = start(t, d.env, "web"), run("worker"), run("scheduler")
	d.ready()
	p := newScraper(t, targets)
	testenv.Eventually(t, time.Minute, func() error {
		up, err := p.query("up == 1 and on() tocsin_outbox_events and on() max(tocsin_processes{role='worker'}) > 0")
		if err == nil && len(up) != 3 {
			err = fmt.Errorf("%d of 3", len(up))
		}
		return err
	}, "all roles are scraped")
	p.fires()

	quietSince := time.Now()
	busy(d)
	p.shows()
	fired, err := p.query(fmt.Sprintf(`count_over_time(ALERTS{alertstate="firing"}[%dms])`, time.Since(quietSince).Milliseconds()))
	if err != nil || len(fired) > 0 {
		t.Errorf("while all is well %v fire (%v)", fired, err)
	}

	goWrong(d, database, rd.URL())
	wrong := []string{
		"TocsinDelay", "TocsinEventSetAside", "TocsinPeriodicTaskFails", "TocsinQueuePaused", "TocsinReceiverDown", "TocsinRedisPolicyWrong",
	}
	p.fires(wrong...)
	d.worker.terminate()
	d.scheduler.terminate()
	p.fires(append(wrong, "TocsinNoWorker", "TocsinNoScheduler")...)
	d.web.terminate()
	p.fires("TocsinUnknown")
	for _, name := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(p.rules, -1) {
		if !slices.Contains(append(wrong, "TocsinNoWorker", "TocsinNoScheduler", "TocsinUnknown"), name[1]) {
			t.Errorf("nothing makes %s fire", name[1])
		}
	}
}

// busy has some thousand observations evaluated, and hundreds delivered, in two imports with a pause for two scrapes.
func busy(d *deployment) {
	d.t.Helper()
	setUpProducts(d, 5)
	for part := range 3 {
		var lines strings.Builder
		for i := range 1000 {
			severity := []string{"Critical", "Low", "Low", "Low"}[i%4]
			fmt.Fprintf(&lines, `{"id":%d,"product_id":%d,"title":"CVE-%[1]d","severity":%[3]q,"status":"Open","priority":null,"parser_type":"SCA"}`+"\n",
				part*1000+i+1, i%5+1, severity)
		}
		d.call(http.MethodPost, "/api/v1/observations", strings.NewReader(lines.String()), nil)
		d.call(http.MethodPost, "/api/v1/exceptions", object{"class": fmt.Sprint("Busy", part)}, nil)
		d.idle(time.Minute)
	}
}

// shows waits until each panel of the dashboard has data, and checks that every metric that dashboard and rules name is
// scraped.
func (p *scraper) shows() {
	p.t.Helper()
	text, err := os.ReadFile(monitoring + "grafana/tocsin.json")
	if err != nil {
		p.t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		p.t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expr := strings.ReplaceAll(target.Expr, "$__rate_interval", "1m")
			testenv.Eventually(p.t, time.Minute, func() error {
				list, err := p.query(expr)
				if err == nil && len(list) == 0 {
					err = fmt.Errorf("nothing for %s", expr)
				}
				return err
			}, panel.Title+" shows something")
		}
	}
	var names []string
	if err := p.ask("/api/v1/label/__name__/values", nil, &names); err != nil {
		p.t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`\b(tocsin|process|go)_[a-z_]+`).FindAllString(string(text)+p.rules, -1) {
		if !slices.Contains(names, name) {
			p.t.Errorf("%s is not scraped", name)
		}
	}
}

// goWrong brings about what alerts are for, while all roles run.
func goWrong(d *deployment, database, redisURL string) {
	d.t.Helper()
	ctx, db := d.t.Context(), open(d.t, database)
	exec := func(statement string) {
		d.t.Helper()
		if _, err := db.ExecContext(ctx, statement); err != nil {
			d.t.Fatal(err)
		}
	}
	report := func(id int) {
		d.t.Helper()
		d.call(http.MethodPost, "/api/v1/observations", object{"observations": []object{{
			"id": id, "product_id": 1, "title": fmt.Sprint("CVE-", id), "severity": "Critical", "status": "Open", "priority": nil, "parser_type": "SCA",
		}}}, nil)
	}
	d.network.mu.Lock()
	d.network.answer = func(string, int) int { return http.StatusServiceUnavailable }
	d.network.mu.Unlock()
	report(9001)
	testenv.Eventually(d.t, 30*time.Second, func() error {
		var n int
		err := db.QueryRowContext(ctx, "SELECT count(*) FROM targets WHERE failing_since IS NOT NULL").Scan(&n)
		if err == nil && n == 0 {
			err = fmt.Errorf("none")
		}
		return err
	}, "a target fails")
	d.call(http.MethodPost, "/monitor/api/queues/events:pause", json.RawMessage("{}"), nil)
	report(9002)
	exec("UPDATE outbox SET failed_at = now(), reason = 'a test says so'")
	report(9003)
	exec("UPDATE outbox SET created_at = created_at - interval '2 minutes' WHERE failed_at IS NULL")
	exec(`INSERT INTO periodic_tasks (task, slot, status, started_at, duration_ms, message)
		VALUES ('cleanup', now(), 'failed', now(), 1, 'a test says so')`)
	client := testenv.RedisClient(d.t, redisURL)
	if err := client.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		d.t.Fatal(err)
	}
}
