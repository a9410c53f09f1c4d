package message

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

func of(t rule.Type, e rule.Event, s rule.Severity, n int) dbmodel.DigestGroup {
	return dbmodel.DigestGroup{Type: t, Event: e, Severity: s, Count: n}
}

func TestDigestCounts(t *testing.T) {
	t.Parallel()
	const ob, ti, ga, ex, ta = rule.TypeObservation, rule.TypeObservationTitle, rule.TypeSecurityGate, rule.TypeException, rule.TypeTask
	for _, c := range []struct {
		name     string
		groups   []dbmodel.DigestGroup
		products int
		want     string
		facts    string
		tone     channel.Tone
	}{
		{
			"as in the book",
			[]dbmodel.DigestGroup{of(ob, "new", "Medium", 79), of(ob, "changed", "High", 10), of(ob, "new", "High", 25), of(ti, "new", "High", 5), of(ob, "new", "Critical", 12)},
			3, "12 Critical, 40 High: 131 notifications from 3 products", "New: 12 Critical, 30 High, 79 Medium|Changed: 10 High", channel.Attention,
		},
		{"only gates", []dbmodel.DigestGroup{of(ga, "failed", "", 1), of(ga, "passed", "", 1), of(ga, "none", "", 1)}, 3, "3 security gates: 3 notifications from 3 products", "Security gates: 1 failed, 1 passed, 1 without result", channel.Attention},
		{"only failed gates", []dbmodel.DigestGroup{of(ga, "failed", "", 2)}, 2, "2 security gates failed: 2 notifications from 2 products", "Security gates: 2 failed", channel.Attention},
		{"only passed gates", []dbmodel.DigestGroup{of(ga, "passed", "", 2)}, 1, "2 security gates passed: 2 notifications from 1 product", "Security gates: 2 passed", channel.Good},
		{"only dropped", []dbmodel.DigestGroup{of(ob, "dropped", "High", 4)}, 1, "4 no longer notified: 4 notifications from 1 product", "No longer notified: 4", channel.Default},
		{"only exceptions", []dbmodel.DigestGroup{of(ex, "", "", 1), of(ta, "", "", 2)}, 0, "1 exception, 2 failed background tasks: 3 notifications", "Exceptions: 1|Failed background tasks: 2", channel.Attention},
		{
			"all sorts",
			[]dbmodel.DigestGroup{of(ob, "new", "Medium", 1), of(ob, "new", "Unknown", 1), of(ob, "new", "Low", 1), of(ob, "dropped", "Critical", 2), of(ga, "none", "", 1), of(ex, "", "", 1)},
			2, "1 Medium, 1 Low, 1 security gate, 1 exception, 2 no longer notified: 7 notifications from 2 products",
			"New: 1 Medium, 1 Low, 1 Unknown|No longer notified: 2|Security gates: 1 without result|Exceptions: 1", channel.Attention,
		},
		{"a severity without a word", []dbmodel.DigestGroup{of(ob, "new", "", 1)}, 1, "1 Unknown: 1 notification from 1 product", "New: 1 Unknown", channel.Default},
		{"nothing", nil, 0, "0 notifications", "", channel.Default},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := &dbmodel.WaitingDigest{Groups: c.groups, Products: c.products}
			for _, m := range []*channel.Message{builder().Digest(d, 678, mail), builder().BriefDigest(d, 678, mail)} {
				var facts []string
				for _, f := range m.Facts {
					facts = append(facts, f.Name+": "+f.Value)
				}
				if m.Headline != c.want || strings.Join(facts, "|") != c.facts || m.Tone != c.tone {
					t.Errorf("got %s\n%s\n%s", m.Headline, facts, m.Tone)
				}
				if m.ID != "digest-678" || m.Action.URL != "https://tocsin.example/" {
					t.Errorf("got %+v", m)
				}
			}
		})
	}
}

// TestDigestOfOneProduct: a digest that is all about one product names it.
func TestDigestOfOneProduct(t *testing.T) {
	t.Parallel()
	const ob, ti, ga, ta = rule.TypeObservation, rule.TypeObservationTitle, rule.TypeSecurityGate, rule.TypeTask
	high := []dbmodel.Notification{*observation(rule.EventNew, nil, values(rule.High, rule.Open))}
	long := []dbmodel.Notification{*observation(rule.EventNew, nil, values(rule.High, rule.Open))}
	long[0].Facts.ProductName = strings.Repeat("p", 500)
	for _, c := range []struct {
		groups []dbmodel.DigestGroup
		worst  []dbmodel.Notification
		want   string
	}{
		{[]dbmodel.DigestGroup{of(ob, "new", "High", 61)}, high, "61 new High in Payments API"},
		{[]dbmodel.DigestGroup{of(ob, "changed", "High", 2)}, high, "2 changed High in Payments API"},
		{[]dbmodel.DigestGroup{of(ob, "new", "Critical", 1), of(ob, "new", "High", 2)}, high, "1 new Critical, 2 new High in Payments API"},
		{[]dbmodel.DigestGroup{of(ob, "new", "High", 2), of(ob, "changed", "High", 2)}, high, "4 High in Payments API"},
		{[]dbmodel.DigestGroup{of(ob, "dropped", "High", 4)}, high, "4 no longer notified in Payments API"},
		{[]dbmodel.DigestGroup{of(ob, "new", "High", 2), of(ga, "failed", "", 1)}, high, "2 new High, 1 security gate failed in Payments API"},
		{[]dbmodel.DigestGroup{of(ob, "new", "Critical", 1), of(ob, "new", "High", 2), of(ob, "new", "Low", 9)}, high, "1 new Critical, 2 new High: 12 notifications from Payments API"},
		{[]dbmodel.DigestGroup{of(ob, "new", "High", 2), of(ti, "new", "High", 3)}, high, "5 High: 5 notifications from 1 product"},
		{[]dbmodel.DigestGroup{of(ob, "new", "High", 2), of(ta, "", "", 1)}, high, "2 High, 1 failed background task: 3 notifications from 1 product"},
		{[]dbmodel.DigestGroup{of(ob, "new", "High", 2)}, nil, "2 High: 2 notifications from 1 product"},
		{[]dbmodel.DigestGroup{of(ob, "new", "High", 61)}, long, "61 new High in " + strings.Repeat("p", maxProduct-1) + "…"},
	} {
		d := &dbmodel.WaitingDigest{Groups: c.groups, Products: 1, Worst: c.worst}
		for _, m := range []*channel.Message{builder().Digest(d, 678, mail), builder().BriefDigest(d, 678, mail)} {
			if m.Headline != c.want {
				t.Errorf("got %s, want %s", m.Headline, c.want)
			}
		}
	}
}

func TestDigestItems(t *testing.T) {
	t.Parallel()
	critical, high := values(rule.Critical, rule.Open), values(rule.High, rule.Open)
	failed := task("import", "ValueError", 24)
	d := &dbmodel.WaitingDigest{
		Products: 1,
		Groups:   []dbmodel.DigestGroup{of(rule.TypeObservation, "new", "Critical", 130), of(rule.TypeSecurityGate, "failed", "", 1)},
		Named:    []dbmodel.Notification{*gate(rule.EventFailed), *exception("KeyError", "no such key", 0), *failed},
		Worst: []dbmodel.Notification{
			*observation(rule.EventNew, nil, critical), *observation(rule.EventChanged, high, critical),
			*observation(rule.EventChanged, critical, values(rule.Critical, rule.Affected)), *observation(rule.EventChanged, critical, values(rule.Critical, rule.Open, 1)),
			*observation(rule.EventDropped, high, values(rule.High, rule.Resolved)), *aboutTitle(rule.EventNew, 7, nil, high),
		},
	}
	m := builder().Digest(d, 678, mail)
	url := "https://tocsin.example/notifications/99"
	want := []channel.Item{
		{Label: "Gate failed", Name: "Payments API", URL: url},
		{Label: "Exception", Name: "KeyError: no such key", URL: url},
		{Label: "Task failed", Event: "×25", Name: "import: ValueError", URL: url},
		{Label: "Critical", Event: "New", Name: "CVE-2026-1234", Product: "Payments API", URL: url},
		{Label: "Critical", Event: "High → Critical", Name: "CVE-2026-1234", Product: "Payments API", URL: url},
		{Label: "Critical", Event: "Now Affected", Name: "CVE-2026-1234", Product: "Payments API", URL: url},
		{Label: "Critical", Event: "Priority none → 1", Name: "CVE-2026-1234", Product: "Payments API", URL: url},
		{Label: "High", Event: "Resolved", Name: "CVE-2026-1234", Product: "Payments API", URL: url},
		{Label: "High", Event: "New", Name: "CVE-2026-1234", Product: "7 products", URL: url},
	}
	if diff := cmp.Diff(want, m.Items); diff != "" {
		t.Error(diff)
	}
	if want := "122 more are in Tocsin's inbox."; m.More != want {
		t.Errorf("got %q, want %q", m.More, want)
	}
	if brief := builder().BriefDigest(d, 678, mail); len(brief.Items) != 0 || brief.More != "" {
		t.Errorf("brief: %+v", brief)
	}
	for range 40 {
		d.Named, d.Worst = append(d.Named, *gate(rule.EventPassed)), append(d.Worst, *observation(rule.EventNew, nil, high))
	}
	if got := len(builder().Digest(d, 678, mail).Items); got != MaxNamed+MaxWorst {
		t.Errorf("%d items", got)
	}
}

func TestDigestReasons(t *testing.T) {
	t.Parallel()
	obs := dbmodel.DigestGroup{Type: rule.TypeObservation, Event: rule.EventNew, Severity: rule.High, Count: 3}
	title := dbmodel.DigestGroup{Type: rule.TypeObservationTitle, Event: rule.EventNew, Severity: rule.High, Count: 3}
	fault := dbmodel.DigestGroup{Type: rule.TypeTask, Count: 3}
	worst := []dbmodel.Notification{*observation(rule.EventNew, nil, values(rule.High, rule.Open))}
	for _, c := range []struct {
		d         dbmodel.WaitingDigest
		want, url string
	}{
		{dbmodel.WaitingDigest{Groups: []dbmodel.DigestGroup{obs}, Products: 1, Worst: worst}, "the notification settings of Payments API", "products/7#notification_email_to"},
		{dbmodel.WaitingDigest{Groups: []dbmodel.DigestGroup{obs}, Products: 3, Worst: worst}, "the notification settings of 3 products", "products"},
		{dbmodel.WaitingDigest{Groups: []dbmodel.DigestGroup{obs, title, fault}, Products: 1, Worst: worst}, "the notification settings of Payments API and of observation titles and for exceptions", "products/7#notification_email_to"},
		{dbmodel.WaitingDigest{Groups: []dbmodel.DigestGroup{title}}, "the notification settings of observation titles", "settings"},
		{dbmodel.WaitingDigest{Groups: []dbmodel.DigestGroup{fault}, Products: 1}, "the notification settings for exceptions", "settings"},
		{dbmodel.WaitingDigest{}, "the notification settings", "settings"},
	} {
		m := builder().Digest(&c.d, 1, mail)
		if m.Reason != "because payments@example.com is set in "+c.want || m.ReasonURL != "https://tocsin.example/"+c.url {
			t.Errorf("got %q %q", m.Reason, m.ReasonURL)
		}
	}
	to, d := mail, dbmodel.WaitingDigest{Groups: []dbmodel.DigestGroup{obs}, Products: 3, Worst: worst}
	to.Holder, to.HolderName = rule.Holder{Kind: rule.HolderGroup, ID: 3}, "Payments"
	m := builder().Digest(&d, 1, to)
	if want := "because payments@example.com is set in the notification settings of group Payments"; m.Reason != want {
		t.Errorf("got %q, want %q", m.Reason, want)
	}
	if want := "https://tocsin.example/product-groups/3#notification_email_to"; m.ReasonURL != want {
		t.Errorf("got %q, want %q", m.ReasonURL, want)
	}
}

// FuzzMessages: no content makes a message panic, or grow without bounds.
func FuzzMessages(f *testing.F) {
	f.Add("observation", "changed", "CVE-2026-1234", "Payments API", "High", "Critical", "trace\nof\nlines", `{"a":1}`, "https://x.example/{id}?{title}", 3, 3600)
	f.Add("task", "", "ValueError", "", "", "", "\xff\r\n", "nonsense", "{title}", -1, -5)
	f.Add("security_gate", "failed", "\u202e🚨", "x", "None", "", "", "", "::", 1<<40, 0)
	f.Fuzz(func(t *testing.T, kind, event, name, product, before, after, text, args, link string, number, window int) {
		id := int64(number)
		n := dbmodel.Notification{
			ID: id, Type: rule.Type(kind), Event: rule.Event(event), Name: name, BeforeSeverity: rule.Severity(before), AfterSeverity: rule.Severity(after),
			BeforeStatus: rule.Status(text), AfterStatus: rule.Status(event), AfterPriority: &number, Message: text, Function: product, Username: text,
			Trace: text, Arguments: []byte(args), Suppressed: number,
			Facts: dbmodel.Facts{ProductName: product, ProductGroupName: text, Details: dbmodel.Details{VulnerabilityID: after, URL: link}, Observations: number, Products: number},
		}
		if number%2 == 0 {
			n.ProductID, n.ObservationID = &id, &id
		}
		b := Builder{BaseURL: link, Settings: &dbmodel.Settings{EmailFrom: text, ExceptionRateLimit: window, ObservationURL: link, ProductURL: link, ObservationTitleURL: link}}
		d := &dbmodel.WaitingDigest{Products: number, Named: []dbmodel.Notification{n}, Worst: []dbmodel.Notification{n}, Groups: []dbmodel.DigestGroup{of(n.Type, n.Event, n.AfterSeverity, number)}}
		for _, m := range []*channel.Message{b.Single(&n, id, mail), b.Digest(d, id, mail), b.BriefDigest(d, id, webhook), b.Test(product, id, mail)} {
			if channel.Length(m.Headline) > maxHeadline || m.Headline == "" || strings.Contains(m.Headline, "\n") {
				t.Errorf("headline %q", m.Headline)
			}
			if channel.Length(m.Text) > 3000 {
				t.Errorf("text of %d characters", channel.Length(m.Text))
			}
			for _, fact := range m.Facts {
				if fact.Value == "" || channel.Length(fact.Value) > maxFact {
					t.Errorf("fact %s: %q", fact.Name, fact.Value)
				}
			}
		}
	})
}
