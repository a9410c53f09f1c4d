package message

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

var (
	mail    = Recipient{Channel: rule.Email, Address: "payments@example.com", FirstName: "Alex"}
	webhook = Recipient{Channel: rule.Slack}
)

func builder(change ...func(*dbmodel.Settings)) Builder {
	s := &dbmodel.Settings{EmailFrom: "noreply@tocsin.example", ExceptionRateLimit: 3600}
	for _, c := range change {
		c(s)
	}
	return Builder{BaseURL: "https://tocsin.example", Settings: s}
}

func values(severity rule.Severity, status rule.Status, priority ...int) *rule.Values {
	v := &rule.Values{Severity: severity, Status: status}
	if len(priority) > 0 {
		v.Priority = &priority[0]
	}
	return v
}

// observation is a notification about CVE-2026-1234 in the product 7, Payments API.
func observation(event rule.Event, before, after *rule.Values) *dbmodel.Notification {
	product, id := int64(7), int64(12)
	n := &dbmodel.Notification{
		ID: 99, Type: rule.TypeObservation, Event: event, Name: "CVE-2026-1234", ProductID: &product, ObservationID: &id,
		Facts: dbmodel.Facts{ProductName: "Payments API"},
	}
	n.SetValues(before, after)
	return n
}

// aboutTitle is a notification about the title CVE-2026-1234 in so many products.
func aboutTitle(event rule.Event, products int, before, after *rule.Values) *dbmodel.Notification {
	n := observation(event, before, after)
	n.Type, n.ProductID, n.ObservationID = rule.TypeObservationTitle, nil, nil
	n.Facts = dbmodel.Facts{Observations: products + 2, Products: products}
	return n
}

func gate(event rule.Event) *dbmodel.Notification {
	product := int64(7)
	return &dbmodel.Notification{ID: 99, Type: rule.TypeSecurityGate, Event: event, Name: "Payments API", ProductID: &product}
}

func exception(class, message string, suppressed int) *dbmodel.Notification {
	return &dbmodel.Notification{ID: 99, Type: rule.TypeException, Name: class, Message: message, Suppressed: suppressed}
}

func task(function, class string, suppressed int) *dbmodel.Notification {
	return &dbmodel.Notification{ID: 99, Type: rule.TypeTask, Function: function, Name: class, Suppressed: suppressed}
}

// own is a failure of Tocsin itself.
func own(message string, suppressed int) *dbmodel.Notification {
	n := task("target:drain", "DeliveryFailed", suppressed)
	n.Own, n.Message = true, message
	return n
}

func TestHeadlineAndTone(t *testing.T) {
	t.Parallel()
	open := values(rule.Critical, rule.Open, 5)
	for _, c := range []struct {
		name string
		n    *dbmodel.Notification
		want string
		tone channel.Tone
	}{
		{"new", observation(rule.EventNew, nil, open), "Critical: CVE-2026-1234 in Payments API", channel.Attention},
		{"new, high", observation(rule.EventNew, nil, values(rule.High, rule.Open)), "High: CVE-2026-1234 in Payments API", channel.Warning},
		{"new, medium", observation(rule.EventNew, nil, values(rule.Medium, rule.Open)), "Medium: CVE-2026-1234 in Payments API", channel.Accent},
		{"the severity None is a word", observation(rule.EventNew, nil, values(rule.SeverityNone, rule.Open)), "None: CVE-2026-1234 in Payments API", channel.Default},
		{"severity", observation(rule.EventChanged, values(rule.High, rule.Open, 9), values(rule.Critical, rule.Affected, 1)), "High → Critical: CVE-2026-1234 in Payments API", channel.Attention},
		{"status", observation(rule.EventChanged, values(rule.Critical, rule.Open, 9), values(rule.Critical, rule.Affected, 1)), "Critical, now Affected: CVE-2026-1234 in Payments API", channel.Attention},
		{"priority", observation(rule.EventChanged, open, values(rule.Critical, rule.Open, 1)), "Critical, priority 5 → 1: CVE-2026-1234 in Payments API", channel.Attention},
		{"a first priority", observation(rule.EventChanged, values(rule.Critical, rule.Open), values(rule.Critical, rule.Open, 1)), "Critical, priority none → 1: CVE-2026-1234 in Payments API", channel.Attention},
		{"no priority any more", observation(rule.EventChanged, open, values(rule.Critical, rule.Open)), "Critical, priority 5 → none: CVE-2026-1234 in Payments API", channel.Attention},
		{"changed, nothing before", observation(rule.EventChanged, nil, open), "Critical: CVE-2026-1234 in Payments API", channel.Attention},
		{"changed, the same", observation(rule.EventChanged, open, open), "Critical: CVE-2026-1234 in Payments API", channel.Attention},
		{"no values at all", observation(rule.EventNew, nil, nil), "Observation: CVE-2026-1234 in Payments API", channel.Default},
		{"dropped by status", observation(rule.EventDropped, open, values(rule.Low, rule.Resolved)), "Resolved: CVE-2026-1234 in Payments API", channel.Default},
		{"dropped by a status, which says it all", observation(rule.EventDropped, open, values(rule.Critical, rule.RiskAccepted, 5)), "Risk accepted: CVE-2026-1234 in Payments API", channel.Default},
		{"dropped by an active status", observation(rule.EventDropped, open, values(rule.Critical, rule.InReview, 5)), "In review, no longer notified: CVE-2026-1234 in Payments API", channel.Default},
		{"dropped by severity", observation(rule.EventDropped, open, values(rule.Low, rule.Open, 9)), "Critical → Low, no longer notified: CVE-2026-1234 in Payments API", channel.Default},
		{"dropped by priority", observation(rule.EventDropped, open, values(rule.Critical, rule.Open)), "Priority 5 → none, no longer notified: CVE-2026-1234 in Payments API", channel.Default},
		{"dropped by settings", observation(rule.EventDropped, open, open), "Settings changed, no longer notified: CVE-2026-1234 in Payments API", channel.Default},
		{"title, new", aboutTitle(rule.EventNew, 7, nil, open), "Critical in 7 products: CVE-2026-1234", channel.Attention},
		{"title, one product", aboutTitle(rule.EventNew, 1, nil, open), "Critical: CVE-2026-1234", channel.Attention},
		{"title, nothing counted", aboutTitle(rule.EventNew, 0, nil, open), "Critical: CVE-2026-1234", channel.Attention},
		{"title, severity", aboutTitle(rule.EventChanged, 7, values(rule.High, rule.Open), open), "High → Critical in 7 products: CVE-2026-1234", channel.Attention},
		{"title, status", aboutTitle(rule.EventChanged, 7, open, values(rule.Critical, rule.Affected, 5)), "Critical in 7 products, now Affected: CVE-2026-1234", channel.Attention},
		{"gate failed", gate(rule.EventFailed), "Security gate failed: Payments API", channel.Attention},
		{"gate passed", gate(rule.EventPassed), "Security gate passed: Payments API", channel.Good},
		{"gate without result", gate(rule.EventNoResult), "Security gate has no result: Payments API", channel.Default},
		{"exception", exception("KeyError", "no such key", 0), "Exception KeyError: no such key", channel.Attention},
		{"exception without message", exception("KeyError", "", 0), "Exception KeyError", channel.Attention},
		{"exception of several lines", exception("KeyError", "\nno such key\nat all", 0), "Exception KeyError: no such key", channel.Attention},
		{"suppressed", exception("KeyError", "no such key", 24), "Exception KeyError: no such key (and 24 times more in the last hour)", channel.Attention},
		{"task", task("import", "ValueError", 0), "Background task import failed: ValueError", channel.Attention},
		{"task without function", task("", "ValueError", 0), "Background task failed: ValueError", channel.Attention},
		{"own failure", own("Slack webhook of Payments API fails: 404 (no_service)\nthe rest", 0), "Slack webhook of Payments API fails: 404 (no_service)", channel.Attention},
		{"own failure, suppressed", own("the clean-up failed", 24), "The clean-up failed (and 24 times more in the last hour)", channel.Attention},
		{"own failure, empty", own("", 0), "A background task of Tocsin failed", channel.Attention},
		{"task, suppressed once", task("import", "ValueError", 1), "Background task import failed: ValueError (and once more in the last hour)", channel.Attention},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := builder().Single(c.n, 1, webhook)
			if m.Headline != c.want {
				t.Errorf("got  %s\nwant %s", m.Headline, c.want)
			}
			if m.Tone != c.tone {
				t.Errorf("tone %s, want %s", m.Tone, c.tone)
			}
		})
	}
}

func TestHeldBackWindow(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[int]string{
		1: "in the last second", 60: "in the last minute", 90: "in the last 90 seconds", 5400: "in the last 90 minutes",
		3600: "in the last hour", 7200: "in the last 2 hours", 86400: "in the last day", 2592000: "in the last 30 days", 0: "before",
	} {
		if got, want := suppressedWords(24, seconds), " (and 24 times more "+want+")"; got != want {
			t.Errorf("%d seconds: got %q, want %q", seconds, got, want)
		}
	}
}

func TestLongAndEmptyTitles(t *testing.T) {
	t.Parallel()
	for _, title := range []string{strings.Repeat("unbroken", 1250), strings.Repeat("🚨", 10_000), strings.Repeat("é ", 5000)} {
		n := observation(rule.EventChanged, values(rule.High, rule.Open), values(rule.Critical, rule.Open))
		n.Name = title
		m := builder().Single(n, 1, webhook)
		if got := channel.Length(m.Headline); got > maxHeadline {
			t.Errorf("a headline of %d characters", got)
		}
		if !strings.HasPrefix(m.Headline, "High → Critical: ") || !strings.HasSuffix(m.Headline, "… in Payments API") {
			t.Errorf("headline %q hides severity or product", m.Headline)
		}
		if m.Facts[0].Name != "Title" || channel.Length(m.Facts[0].Value) <= channel.Length(m.Headline) {
			t.Errorf("the rest of the title is nowhere: %+v", m.Facts[0])
		}
	}
	for _, title := range []string{"", " ", "\u202e\n"} {
		n := observation(rule.EventNew, nil, values(rule.Critical, rule.Open))
		n.Name = title
		if got, want := builder().Single(n, 1, webhook).Headline, "Critical: (no title) in Payments API"; got != want {
			t.Errorf("%q: got %q", title, got)
		}
	}
	n := observation(rule.EventNew, nil, values(rule.Critical, rule.Open))
	n.Name, n.Facts.ProductName = "one\r\ntwo\u202ethree", ""
	if got, want := builder().Single(n, 1, webhook).Headline, "Critical: one twothree"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOneMail(t *testing.T) {
	t.Parallel()
	n := observation(rule.EventChanged, values(rule.High, rule.Open), values(rule.Critical, rule.Affected, 1))
	score := 9.8
	n.Facts = dbmodel.Facts{
		ProductName: "Payments API", ProductGroupName: "Payments", ParserType: "SCA",
		Details: dbmodel.Details{VulnerabilityID: "GHSA-x", CVSSScore: &score, Origin: dbmodel.Origin{Component: "openssl:3.0.1"}},
	}
	got := builder().Single(n, 123, mail)
	want := &channel.Message{
		Headline: "High → Critical: CVE-2026-1234 in Payments API",
		Tone:     channel.Attention,
		Facts: []channel.Fact{
			{Name: "Product", Value: "Payments API (Payments)"},
			{Name: "Severity", Value: "Critical"},
			{Name: "Status", Value: "Affected"},
			{Name: "Priority", Value: "1"},
			{Name: "Parser type", Value: "SCA"},
			{Name: "Vulnerability", Value: "GHSA-x"},
			{Name: "CVSS", Value: "9.8"},
			{Name: "Changed", Value: "severity High → Critical, status Open → Affected, priority none → 1"},
			{Name: "Component", Value: "openssl:3.0.1"},
		},
		Action: channel.Link{Label: "Open in Tocsin", URL: "https://tocsin.example/notifications/99"},
		ID:     "delivery-123", Thread: "observation-12", From: "noreply@tocsin.example", Greeting: "Alex",
		Reason:    "because payments@example.com is set in the notification settings of Payments API",
		ReasonURL: "https://tocsin.example/products/7#notification_email_to",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// ofGroup is n for an address that the product's group names.
func ofGroup(n *dbmodel.Notification) *dbmodel.Notification {
	n.Facts.ProductGroupName = "Payments"
	return n
}

func TestReasons(t *testing.T) {
	t.Parallel()
	open := values(rule.Critical, rule.Open)
	for name, c := range map[string]struct {
		n           *dbmodel.Notification
		reason, url string
	}{
		"title":     {aboutTitle(rule.EventNew, 7, nil, open), "of observation titles", "settings#observation_title_notification_email_to"},
		"exception": {exception("KeyError", "", 0), "for exceptions", "settings#exception_email_to"},
		"task":      {task("import", "KeyError", 0), "for exceptions", "settings#exception_email_to"},
		"gate":      {gate(rule.EventFailed), "of Payments API", "products/7#notification_email_to"},
		"group":     {ofGroup(gate(rule.EventFailed)), "of group Payments", "product-groups/3#notification_email_to"},
	} {
		to := mail
		if name == "group" {
			to.Holder = rule.Holder{Kind: rule.HolderGroup, ID: 3}
		}
		m := builder().Single(c.n, 1, to)
		if want := "because payments@example.com is set in the notification settings " + c.reason; m.Reason != want {
			t.Errorf("%s: got %q, want %q", name, m.Reason, want)
		}
		if want := "https://tocsin.example/" + c.url; m.ReasonURL != want {
			t.Errorf("%s: got %q, want %q", name, m.ReasonURL, want)
		}
		if m := builder().Single(c.n, 1, webhook); m.Reason+m.ReasonURL+m.From+m.Greeting != "" {
			t.Errorf("%s: a webhook gets what only mail needs: %+v", name, m)
		}
	}
}

func TestThreads(t *testing.T) {
	t.Parallel()
	open := values(rule.Critical, rule.Open)
	first := builder().Single(aboutTitle(rule.EventNew, 7, nil, open), 1, mail)
	second := builder().Single(aboutTitle(rule.EventChanged, 8, open, values(rule.High, rule.Open)), 2, mail)
	if first.Thread != second.Thread || !strings.HasPrefix(first.Thread, "title-") || first.ID == second.ID {
		t.Errorf("threads %q and %q, ids %q and %q", first.Thread, second.Thread, first.ID, second.ID)
	}
	if got := builder().Single(gate(rule.EventFailed), 1, mail).Thread; got != "gate-7" {
		t.Errorf("got %q", got)
	}
	if got := builder().Single(exception("KeyError", "", 0), 1, mail).Thread; got != "" {
		t.Errorf("got %q", got)
	}
}

func TestTestMessage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                  string
		id                    int64
		headline, reason, url string
	}{
		{"Payments API", 7, "Test from Tocsin: messages for Payments API arrive here", "the notification settings of Payments API", "products/7"},
		{"observation titles", 0, "Test from Tocsin: messages for observation titles arrive here", "the notification settings of observation titles", "settings"},
		{"", 0, "Test from Tocsin: messages arrive here", "the settings", "settings"},
	} {
		m := builder().Test(c.name, c.id, mail)
		if m.Headline != c.headline || m.Reason != "because somebody sent a test from "+c.reason || m.ReasonURL != "https://tocsin.example/"+c.url || m.Action.URL != m.ReasonURL {
			t.Errorf("got %+v", m)
		}
	}
}
