package demo

import (
	"os"
	"os/exec"
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	msg "github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

func TestShot(t *testing.T) {
	r := startReceiver(t)
	b := msg.Builder{BaseURL: "https://tocsin.example", Settings: &dbmodel.Settings{EmailFrom: "Tocsin <noreply@tocsin.example>", ExceptionRateLimit: 3600}}
	p, o := int64(7), int64(12)
	sc := 9.8
	n := &dbmodel.Notification{ID: 9, Type: rule.TypeObservation, Event: rule.EventChanged, Name: "CVE-2026-1234", ProductID: &p, ObservationID: &o,
		Facts: dbmodel.Facts{ProductName: "Payments API", ProductGroupName: "Payments", ParserType: "SCA", CVSSScore: &sc, Origin: dbmodel.Origin{Component: "openssl:3.0.1", Image: "payments:1.2"}}}
	n.SetValues(&rule.Values{Severity: rule.High, Status: rule.Open}, &rule.Values{Severity: rule.Critical, Status: rule.Affected, Priority: new(1)})
	g := &dbmodel.Notification{ID: 10, Type: rule.TypeSecurityGate, Event: rule.EventPassed, Name: "Payments API", ProductID: &p, Facts: dbmodel.Facts{ProductName: "Payments API", ProductGroupName: "Payments"}}
	e := &dbmodel.Notification{ID: 11, Type: rule.TypeTask, Name: "ValueError", Function: "import_observations", Message: "line 12 of report.json is not a finding", Suppressed: 24, Arguments: []byte(`{"file":"report.json","api_token":"***"}`),
		Trace: "Traceback (most recent call last):\n  File \"application/core/views.py\", line 118, in list\n    branch = request.query[\"branch\"]\n             ~~~~~~~~~~~~~^^^^^^^^^^\nKeyError: 'branch'", Facts: dbmodel.Facts{ProductName: "Payments API"}}
	d := &dbmodel.Digest{Products: 3, Groups: []dbmodel.DigestGroup{{Type: rule.TypeObservation, Event: "new", Severity: "Critical", Count: 12}, {Type: rule.TypeObservation, Event: "new", Severity: "High", Count: 40}, {Type: rule.TypeObservation, Event: "changed", Severity: "Medium", Count: 70}, {Type: rule.TypeObservation, Event: "dropped", Severity: "Medium", Count: 8}, {Type: rule.TypeSecurityGate, Event: "failed", Count: 1}}, Named: []dbmodel.Notification{*g}}
	for range 10 {
		d.Worst = append(d.Worst, *n)
	}
	for _, to := range []struct {
		c rule.Channel
		n string
	}{{rule.Email, "payments@example.com"}, {rule.Slack, "payments-security"}, {rule.MSTeams, "payments"}} {
		rc := msg.Recipient{Channel: to.c, Address: to.n, FirstName: "Alex"}
		send(t, r, to.c, to.n, b.Digest(d, 5, rc))
		send(t, r, to.c, to.n, b.Notification(e, 3, rc))
		send(t, r, to.c, to.n, b.Notification(g, 3, rc))
		send(t, r, to.c, to.n, b.Notification(n, 3, rc))
		send(t, r, to.c, to.n, b.Test("Payments API", 7, rc))
	}
	for i, url := range []string{"?kind=mail", "?kind=teams", "?kind=slack"} {
		for _, dark := range []string{"", "--blink-settings=preferredColorScheme=0"} {
			name := "/tmp/shot" + string(rune('0'+i)) + map[bool]string{true: "dark", false: "light"}[dark != ""] + ".png"
			dir, _ := os.MkdirTemp("", "chr")
			args := []string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir=" + dir, "--hide-scrollbars", "--window-size=900,2600", "--virtual-time-budget=3000", "--screenshot=" + name}
			if dark != "" {
				args = append(args, "--force-dark-mode", dark)
			}
			out, err := exec.Command("timeout", append([]string{"40", "chromium"}, append(args, r.URL()+url)...)...).CombinedOutput()
			t.Log(name, err, string(out[max(0, len(out)-300):]))
		}
	}
}
