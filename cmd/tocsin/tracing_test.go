package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/seed91453169/tocsin/internal/fakesecobserve"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// span is what a collector was sent of a span.
type span struct {
	Trace, ID, Parent, Name, Service string
	Attributes                       map[string]string
	Links                            []string // the names of the traces that it leads to
}

// traces is a collector of OpenTelemetry.
type traces struct {
	*httptest.Server
	mu    sync.Mutex
	spans []span
}

func newTraces(t testing.TB) *traces {
	t.Helper()
	c := new(traces)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sent collector.ExportTraceServiceRequest
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(body, &sent)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, fmt.Sprint(r.URL.Path, err), http.StatusBadRequest)
			return
		}
		c.add(&sent)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *traces) add(sent *collector.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range sent.GetResourceSpans() {
		service := ""
		for _, a := range of.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				one := span{
					hex.EncodeToString(s.GetTraceId()), hex.EncodeToString(s.GetSpanId()), hex.EncodeToString(s.GetParentSpanId()),
					s.GetName(), service,
					map[string]string{},
					nil,
				}
				for _, l := range s.GetLinks() {
					one.Links = append(one.Links, hex.EncodeToString(l.GetTraceId()))
				}
				for _, a := range s.GetAttributes() {
					one.Attributes[a.GetKey()] = a.GetValue().GetStringValue()
				}
				c.spans = append(c.spans, one)
			}
		}
	}
}

// of lists the spans of a trace as service, name and the name of the parent.
func (c *traces) of(trace string) (list []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := map[string]string{}
	for _, s := range c.spans {
		names[s.ID] = s.Name
	}
	for _, s := range c.spans {
		if s.Trace != trace {
			continue
		}
		parent := names[s.Parent]
		if parent == "" {
			parent = s.Parent
		}
		list = append(list, s.Service+": "+s.Name+" < "+parent)
	}
	slices.Sort(list)
	return list
}

// logged returns the lines of a log that have the id of a trace.
func logged(log fmt.Stringer, trace string) (lines []string) {
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, `"trace_id":"`+trace+`"`) {
			lines = append(lines, line)
		}
	}
	return lines
}

// reportTraced reports an observation as part of a trace of the caller.
func (d *deployment) reportTraced(trace string, id, product int) {
	d.t.Helper()
	body := fmt.Sprintf(`{"observations":[{"id":%d,"product_id":%d,"title":"CVE-%[1]d","severity":"Critical","status":"Open","priority":null,"parser_type":"SCA"}]}`,
		id, product)
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.url+"/api/v1/observations", bytes.NewReader([]byte(body)))
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+d.token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Traceparent", "00-"+trace+"-"+callersSpan+"-01")
	answer, err := d.client.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		d.t.Fatal(answer.Status)
	}
}

const callersSpan = "00f067aa0ba902b7"

// TestTrace: one trace goes from the request of a caller to the deliveries, over all roles, and log lines name it.
func TestTrace(t *testing.T) {
	t.Parallel()
	for name, web := range map[string]string{"roles": "web", "serve": "serve"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, worker := newTraces(t), web
			env := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL + "/", "OTEL_BSP_SCHEDULE_DELAY=50", "TOCSIN_LOG_LEVEL=info"}
			var d *deployment
			if web == "web" {
				worker = "worker"
				d = newRoles(t, testenv.PostgresURL(t, testenv.MigrateSchema), testenv.Redis(t).URL(), env...)
			} else {
				d = newDeployment(t, append(env, "TOCSIN_DATA_DIR="+t.TempDir())...)
				d.web = start(t, d.env, "serve")
				d.worker = d.web
				d.ready()
			}
			setUpProducts(d, 2)
			d.network.answer = func(path string, _ int) int {
				if path == "/slack/2" {
					return http.StatusNotFound
				}
				return http.StatusOK
			}
			for product, trace := range []string{"4bf92f3577b34da6a3ce929d0e0e4736", "5bf92f3577b34da6a3ce929d0e0e4737"} {
				d.reportTraced(trace, product+1, product+1)
				want := []string{
					"tocsin-" + web + ": POST /api/v1/observations < " + callersSpan,
					"tocsin-" + web + ": accept observation < POST /api/v1/observations",
					"tocsin-" + worker + ": deliver email < evaluate observation",
					"tocsin-" + worker + ": deliver slack < evaluate observation",
					"tocsin-" + worker + ": evaluate observation < accept observation",
				}
				slices.Sort(want)
				testenv.Eventually(t, 30*time.Second, func() error {
					if got := c.of(trace); !slices.Equal(got, want) {
						return fmt.Errorf("got\n%s", strings.Join(got, "\n"))
					}
					return nil
				}, "the whole trace arrives")
				if lines := logged(d.web.log, trace); len(lines) == 0 || !strings.Contains(lines[0], `"message":"request"`) {
					t.Errorf("the log of web: %s", lines)
				}
			}
			testenv.Eventually(t, 30*time.Second, func() error {
				lines := logged(d.worker.log, "5bf92f3577b34da6a3ce929d0e0e4737")
				if len(lines) == 0 || !strings.Contains(lines[len(lines)-1], "a delivery failed for good") {
					return fmt.Errorf("the log of the worker: %s", lines)
				}
				return nil
			}, "the delivery that failed is in the log")
			c.mu.Lock()
			defer c.mu.Unlock()
			text := fmt.Sprint(c.spans)
			for _, secret := range []string{d.network.URL, "/slack/2", adminToken, "team1@example.com"} {
				if strings.Contains(text, secret) {
					t.Errorf("spans hold %s", secret)
				}
			}
		})
	}
}

// TestTraceOfDigest: a message for several notifications is sent in the trace of the first one, and leads to those of the others.
func TestTraceOfDigest(t *testing.T) {
	t.Parallel()
	c := newTraces(t)
	d := newDeployment(t, "TOCSIN_DATA_DIR="+t.TempDir(), "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_BSP_SCHEDULE_DELAY=50")
	d.web = start(t, d.env, "serve")
	d.ready()
	setUpProducts(d, 1)
	d.call(http.MethodPatch, "/api/v1/settings", object{"digest_threshold": 1}, nil)
	held := make(chan struct{})
	d.network.answer = func(path string, try int) int {
		if path == "/slack/1" && try == 1 {
			<-held
		}
		return http.StatusOK
	}
	traces := []string{"4bf92f3577b34da6a3ce929d0e0e4736", "5bf92f3577b34da6a3ce929d0e0e4737", "6bf92f3577b34da6a3ce929d0e0e4738"}
	for i, trace := range traces {
		d.reportTraced(trace, i+1, 1)
		// All mails are sent; the first message to Slack is under way, and the others wait for it.
		testenv.Eventually(t, 30*time.Second, func() error {
			_, answer, err := d.try(http.MethodGet, "/api/v1/status", nil)
			if want := fmt.Sprintf(`"pending_deliveries":%d,`, i+1); err != nil || !strings.Contains(string(answer), want) {
				return fmt.Errorf("%s %w", answer, err)
			}
			return nil
		}, "the deliveries to Slack do not wait alone")
		testenv.Eventually(t, 30*time.Second, func() error {
			d.network.mu.Lock()
			defer d.network.mu.Unlock()
			if d.network.tries["/slack/1"] == 0 {
				return fmt.Errorf("no message is under way")
			}
			return nil
		}, "nothing is sent to Slack")
	}
	close(held)
	testenv.Eventually(t, 30*time.Second, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range c.spans {
			if s.Name == "deliver slack" && s.Trace == traces[1] && slices.Equal(s.Links, traces[2:]) {
				return nil
			}
		}
		return fmt.Errorf("%v", c.spans)
	}, "the digest is not traced")
}

// TestTraceSampler: the variables of OpenTelemetry decide what is traced; what is not leaves nothing behind.
func TestTraceSampler(t *testing.T) {
	t.Parallel()
	c := newTraces(t)
	folder := t.TempDir()
	d := newDeployment(t, "TOCSIN_DATA_DIR="+folder, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_TRACES_SAMPLER=always_off",
		"TOCSIN_LOG_LEVEL=info")
	d.web = start(t, d.env, "serve")
	d.ready()
	setUpProducts(d, 1)
	d.reportTraced("4bf92f3577b34da6a3ce929d0e0e4736", 1, 1)
	d.idle(30 * time.Second)
	d.web.terminate()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spans) > 0 || strings.Contains(d.web.log.String(), "trace_id") {
		t.Errorf("%d spans", len(c.spans))
	}
	var traced int
	db := open(t, "sqlite://"+folder+"/tocsin.db")
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM notifications WHERE facts LIKE '%trace_parent%'").Scan(&traced); err != nil || traced > 0 {
		t.Errorf("%d notifications are traced (%v)", traced, err)
	}
}

// TestTracePass: a pass over SecObserve is a trace with its requests and with what becomes of what it accepts.
func TestTracePass(t *testing.T) {
	t.Parallel()
	c := newTraces(t)
	d := newDeployment(t, "TOCSIN_DATA_DIR="+t.TempDir(), "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_BSP_SCHEDULE_DELAY=50")
	so, product := newSecObserve(t, d.network.URL+"/slack")
	d.env = append(d.env, "TOCSIN_SECOBSERVE_URL="+so.URL, "TOCSIN_SECOBSERVE_TOKEN="+fakesecobserve.Token, "TOCSIN_SECOBSERVE_INTERVAL=1s")
	d.web = start(t, d.env, "serve")
	d.ready()
	d.observations(product, 1)
	so.Model.AddObservation(fakesecobserve.Observation{Product: product, Title: "new one", Severity: "High", Status: "Open", ParserType: "SCA"})
	testenv.Eventually(t, 30*time.Second, func() error {
		trace := c.traceWith("deliver slack")
		spans := c.of(trace)
		for _, want := range []string{
			"tocsin-serve: secobserve:sync < ", "tocsin-serve: GET users/ < secobserve:sync",
			"tocsin-serve: GET observations/ < secobserve:sync", "tocsin-serve: evaluate observation < secobserve:sync",
			"tocsin-serve: deliver slack < evaluate observation",
		} {
			if !slices.Contains(spans, want) {
				return fmt.Errorf("no %q in\n%s", want, strings.Join(spans, "\n"))
			}
		}
		return nil
	}, "the whole trace arrives")
	so.SetFault(func(int, *http.Request) fakesecobserve.Fault { return fakesecobserve.Unauthorized })
	passes := len(d.passes())
	testenv.Eventually(t, 30*time.Second, func() error {
		if n := len(d.passes()); n < passes+2 {
			return fmt.Errorf("%d passes", n)
		}
		return nil
	}, "no pass")
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprint(c.spans)
	for _, secret := range []string{fakesecobserve.Token, d.network.URL, so.URL} {
		if strings.Contains(text, secret) {
			t.Errorf("spans hold %s", secret)
		}
	}
}

// traceWith returns the trace of the first span with a name; empty: there is none.
func (c *traces) traceWith(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if s.Name == name {
			return s.Trace
		}
	}
	return ""
}
