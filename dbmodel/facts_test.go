package dbmodel

import (
	"encoding/json"
	"testing"

	"github.com/seed91453169/tocsin/rule"
)

// TestFactsAsStored compares the JSON of an observation and of its facts with what is stored.
func TestFactsAsStored(t *testing.T) {
	t.Parallel()
	o := Observation{
		ID: 1, ProductID: 2, Title: "CVE-1", Severity: rule.High, Status: rule.Open, Priority: new(3),
		ParserType: "SCA",
		Details: Details{
			VulnerabilityID: "CVE-2026-1", CVSSScore: new(7.5), Origin: Origin{Image: "x"},
			URL: "https://example.org/1", KnownExploited: new(false), EPSSScore: new(0.25), FixedVersion: "3.0.1",
			Branch: "main", Service: "web", Scanner: "Trivy",
		},
	}
	for _, c := range []struct {
		name  string
		value any
		want  string
	}{
		{"observation", o, `{"id":1,"product_id":2,"title":"CVE-1","severity":"High","status":"Open","priority":3,` +
			`"parser_type":"SCA","vulnerability_id":"CVE-2026-1","cvss_score":7.5,"origin":{"image":"x"},` +
			`"url":"https://example.org/1","known_exploited":false,"epss_score":0.25,"fixed_version":"3.0.1",` +
			`"branch":"main","service":"web","scanner":"Trivy"}`},
		{"facts", o.Facts(), `{"observation_title":"CVE-1","parser_type":"SCA","vulnerability_id":"CVE-2026-1",` +
			`"cvss_score":7.5,"origin":{"image":"x"},"url":"https://example.org/1","known_exploited":false,` +
			`"epss_score":0.25,"fixed_version":"3.0.1","branch":"main","service":"web","scanner":"Trivy"}`},
		{"no facts", new(Observation).Facts(), `{}`},
	} {
		got, err := json.Marshal(c.value)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v; want %s", c.name, got, err, c.want)
		}
	}
}
