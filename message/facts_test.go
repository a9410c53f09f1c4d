package message

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

func TestFacts(t *testing.T) {
	t.Parallel()
	open := values(rule.Critical, rule.Open)
	withTitle := func(observations, products int) *dbmodel.Notification {
		n := aboutTitle(rule.EventNew, products, nil, open)
		n.Facts.Observations = observations
		n.Facts.ProductName, n.Facts.Origin = "Payments API", dbmodel.Origin{Component: "openssl"}
		return n
	}
	known := observation(rule.EventNew, nil, open)
	known.Facts.VulnerabilityID, known.Facts.Origin, known.Facts.URL = "CVE-2026-1234", dbmodel.Origin{Text: "image x", File: "go.sum"}, "https://scanner.example/1"
	detailed := observation(rule.EventNew, nil, open)
	detailed.Facts.KnownExploited, detailed.Facts.EPSSScore, detailed.Facts.FixedVersion = new(true), new(0.942), "3.0.1"
	detailed.Facts.Branch, detailed.Facts.Service, detailed.Facts.Scanner = "main", "web", "Trivy 1.0"
	failed := task("import", "ValueError", 0)
	failed.Username, failed.Arguments, failed.Facts = "automation", json.RawMessage(`{"file": "a.json", "password": "***"}`),
		dbmodel.Facts{ProductName: "Payments API", ProductGroupName: "Payments", ObservationTitle: "CVE-1"}
	gateOfGroup := gate(rule.EventFailed)
	gateOfGroup.Facts.ProductGroupName, gateOfGroup.Facts.GateBefore = "Payments", rule.EventNoResult
	for name, c := range map[string]struct {
		n    *dbmodel.Notification
		want string
	}{
		"new":                  {observation(rule.EventNew, nil, open), "Product: Payments API|Severity: Critical|Status: Open"},
		"known by its title":   {known, "Product: Payments API|Severity: Critical|Status: Open|Origin: image x|File: go.sum|URL: https://scanner.example/1"},
		"all facts":            {detailed, "Product: Payments API|Severity: Critical|Status: Open|Known exploited: yes|EPSS: 0.942|Fixed version: 3.0.1|Branch: main|Service: web|Scanner: Trivy 1.0"},
		"severity None":        {observation(rule.EventNew, nil, values(rule.SeverityNone, rule.Open)), "Product: Payments API|Severity: None|Status: Open"},
		"dropped by settings":  {observation(rule.EventDropped, open, open), "Product: Payments API|Severity: Critical|Status: Open|Changed: the settings that apply, not the observation itself"},
		"title":                {withTitle(9, 7), "Found in: 9 observations in 7 products|Severity: Critical|Status: Open|Component, for example: openssl"},
		"title of one":         {withTitle(1, 1), "Found in: 1 observation in 1 product|Severity: Critical|Status: Open|Component: openssl"},
		"gate":                 {gateOfGroup, "Product: Payments API (Payments)|Changed: no result → failed"},
		"task":                 {failed, `Product: Payments API (Payments)|Class: ValueError|Function: import|User: automation|Observation: CVE-1|Arguments: {"file":"a.json","password":"***"}`},
		"exception, all empty": {exception("KeyError", "", 0), "Class: KeyError"},
	} {
		var got []string
		for _, f := range builder().Single(c.n, 1, webhook).Facts {
			got = append(got, f.Name+": "+f.Value)
		}
		if diff := cmp.Diff(strings.Split(c.want, "|"), got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for stored, want := range map[string]string{
		"": "", "null": "", "{}": "", "{ }": "", `{"a": [1, 2]}`: `{"a":[1,2]}`, "no json": "no json",
		`{"url": "https://user:pass@host.example/x"}`:             `{"url":"https://***@host.example/x"}`,
		`{"header": "Authorization: Bearer abcdefghijklmnop123"}`: `{"header":"Authorization: Bearer ***"}`,
	} {
		if got := arguments(json.RawMessage(stored)); got != want {
			t.Errorf("%s: got %s, want %s", stored, got, want)
		}
	}
}

func TestFaultText(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 150 {
		lines = append(lines, fmt.Sprintf("  line %d", i))
	}
	n := exception("KeyError", "no such key", 0)
	n.Trace = strings.Join(lines, "\r\n") + "\n\n"
	got := builder().Single(n, 1, webhook).Text
	if want := "… 130 lines before, all in Tocsin\n" + strings.Join(lines[130:], "\n"); got != want {
		t.Errorf("got %s", got)
	}
	n.Message, n.Trace = "first\nsecond", "only\n"
	if got, want := builder().Single(n, 1, webhook).Text, "first\nsecond\n\nonly"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	failed := task("import", "ValueError", 0)
	failed.Message = "e"
	if got := builder().Single(failed, 1, webhook).Text; got != "e" {
		t.Errorf("got %q", got)
	}
	n.Message, n.Trace = strings.Repeat("m", 60_000), strings.Repeat(strings.Repeat("t", 1000)+"\n", 60)+"KeyError: the end"
	got = builder().Single(n, 1, webhook).Text
	if channel.Length(got) > 3000 || !strings.HasSuffix(got, "KeyError: the end") {
		t.Errorf("%d characters, ending in %q", channel.Length(got), got[len(got)-40:])
	}
	secret := exception("OperationalError", "postgres://tocsin:hunter2@db/x refused", 0)
	if m := builder().Single(secret, 1, webhook); strings.Contains(m.Headline+m.Text, "hunter2") || m.Text != "" {
		t.Errorf("got %q, %q", m.Headline, m.Text)
	}
	// Wherever a text is cut: a URL whose @ is cut off is one all the same.
	for n := range 700 {
		text := strings.Repeat("x", n) + " postgres://tocsin:hunter2hunter2hunter2@db/x"
		secret := exception("OperationalError", text, 0)
		secret.Trace = text
		if m := builder().Single(secret, 1, webhook); strings.Contains(m.Headline+m.Text, "hunter2") {
			t.Fatalf("%d before it: got %q, %q", n, m.Headline, m.Text)
		}
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	open := values(rule.Critical, rule.Open)
	all := func(s *dbmodel.Settings) {
		s.ObservationURL = "https://app.example/#/observations/{id}/show"
		s.ProductURL = "https://app.example/#/products/{id}/show"
		s.ObservationTitleURL = "https://app.example/#/observations?title={title}"
	}
	hostile := aboutTitle(rule.EventNew, 7, nil, open)
	hostile.Name = "a/b?c&d=e#f {id}%20\"é+~"
	long := aboutTitle(rule.EventNew, 7, nil, open)
	long.Name = strings.Repeat("é", 10_000)
	nobody := observation(rule.EventNew, nil, open)
	nobody.ObservationID = nil
	for name, c := range map[string]struct {
		n          *dbmodel.Notification
		b          Builder
		label, url string
	}{
		"observation": {observation(rule.EventNew, nil, open), builder(all), "Open observation", "https://app.example/#/observations/12/show"},
		"gate":        {gate(rule.EventFailed), builder(all), "Open product", "https://app.example/#/products/7/show"},
		"title":       {hostile, builder(all), "Open observations", "https://app.example/#/observations?title=a%2Fb%3Fc%26d%3De%23f%20%7Bid%7D%2520%22%C3%A9%2B~"},
		"too long":    {long, builder(all), "Open in Tocsin", "https://tocsin.example/notifications/99"},
		"no id":       {nobody, builder(all), "Open in Tocsin", "https://tocsin.example/notifications/99"},
		"not set":     {observation(rule.EventNew, nil, open), builder(), "Open in Tocsin", "https://tocsin.example/notifications/99"},
		"exception":   {exception("KeyError", "", 0), builder(all), "Open in Tocsin", "https://tocsin.example/notifications/99"},
		"with slash":  {gate(rule.EventFailed), Builder{"https://tocsin.example/x/", &dbmodel.Settings{}}, "Open in Tocsin", "https://tocsin.example/x/notifications/99"},
	} {
		got := c.b.Single(c.n, 1, webhook).Action
		if got.Label != c.label || got.URL != c.url {
			t.Errorf("%s: got %+v, want %s %s", name, got, c.label, c.url)
		}
	}
}
