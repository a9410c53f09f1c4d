package channeltest

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestValidatorsSeeFaults: a validator that finds nothing anywhere proves nothing.
func TestValidatorsSeeFaults(t *testing.T) {
	t.Parallel()
	good := `{"type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"x"}]}]}`
	cards := map[string]json.RawMessage{
		"good":            json.RawMessage(good),
		"unknown element": json.RawMessage(strings.Replace(good, "RichTextBlock", "RichTextBlob", 1)),
		"newer version":   json.RawMessage(strings.Replace(good, "1.4", "1.5", 1)),
		"wrong word":      json.RawMessage(strings.Replace(good, `"text":"x"`, `"text":"x","color":"pink"`, 1)),
	}
	found := strings.Join(cardFaults(t, cards), "\n")
	for name := range cards {
		if strings.Contains(found, name+": ") == (name == "good") {
			t.Errorf("%s: found %s", name, found)
		}
	}
	unsigned := map[string]Signed{"x": {Secret: SigningSecret, Body: "{}", Headers: map[string]string{
		"webhook-id": "1", "webhook-timestamp": strconv.FormatInt(time.Now().Unix(), 10), "webhook-signature": "v1,AAAA",
	}}}
	if len(scriptFaults(t, "webhooks.cjs", unsigned)) != 1 {
		t.Error("a wrong signature is taken")
	}
	for _, c := range []struct{ typ, pkg, value string }{
		{"IAdaptiveCard", "@microsoft/teams.cards", strings.Replace(good, `"text":"x"`, `"text":"x","color":"Pink"`, 1)},
		{"KnownBlock[]", "@slack/types", `[{"type":"header","text":{"type":"mrkdwn","text":"x"}}]`},
	} {
		if len(typeFaults(t, c.typ, c.pkg, map[string]json.RawMessage{"x": json.RawMessage(c.value)})) == 0 {
			t.Errorf("%s: no fault found", c.typ)
		}
	}
}
