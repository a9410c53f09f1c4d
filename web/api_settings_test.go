package web_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const settingsPath = "/api/v1/settings"

var defaultSettings = map[string]any{
	"email_from": "", "observation_title_notification_email_to": "", "observation_title_notification_ms_teams_webhook": "",
	"observation_title_notification_slack_webhook": "", "observation_title_notification_min_severity": "",
	"observation_title_notification_statuses": []any{}, "observation_title_notification_min_priority": nil,
	"observation_title_notification_parser_type": "", "exception_email_to": "", "exception_ms_teams_webhook": "", "exception_slack_webhook": "",
	"exception_rate_limit": 3600.0, "member_notification_types": []any{"security_gate", "task"}, "delivery_give_up_hours": 24.0,
	"digest_threshold": 10.0, "observation_url": "", "product_url": "", "observation_title_url": "", "notification_retention_days": 90.0,
	"cleanup_cron": "0 3 * * *",
}

func TestSettings(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		check := func(what string, want, got map[string]any) {
			t.Helper()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s:\n%s", what, diff)
			}
			if diff := cmp.Diff(want, e.want(200, "GET", settingsPath, nil).json); diff != "" {
				t.Errorf("GET after %s:\n%s", what, diff)
			}
		}
		check("nothing", defaultSettings, e.want(200, "PATCH", settingsPath, `{}`).json)
		all := map[string]any{
			"email_from": "Tocsin <tocsin@example.com>", "observation_title_notification_email_to": "a@example.com,b@example.com",
			"observation_title_notification_ms_teams_webhook": teamsURL, "observation_title_notification_slack_webhook": slackURL,
			"observation_title_notification_min_severity": "High", "observation_title_notification_statuses": []any{"Open"},
			"observation_title_notification_min_priority": 3.0, "observation_title_notification_parser_type": "SCA",
			"exception_email_to": "c@example.com", "exception_ms_teams_webhook": teamsURL, "exception_slack_webhook": "http://127.0.0.1:9999/x/1234",
			"exception_rate_limit": 0.0, "member_notification_types": []any{"observation"}, "delivery_give_up_hours": 720.0, "digest_threshold": 0.0,
			"observation_url": "https://secobserve.example/#/observations/{id}/show", "product_url": "http://localhost:3000/products/{id}",
			"observation_title_url": "https://secobserve.example/#/titles?title={title}", "notification_retention_days": 0.0, "cleanup_cron": "@daily",
		}
		shown := with(all, map[string]any{
			"observation_title_notification_ms_teams_webhook": "https://prod-1.westeurope.logic.azure.com/…c3d4",
			"observation_title_notification_slack_webhook":    "https://hooks.slack.com/…a1b2",
			"exception_ms_teams_webhook":                      "https://prod-1.westeurope.logic.azure.com/…c3d4",
			"exception_slack_webhook":                         "http://127.0.0.1:9999/…1234",
		})
		check("all", shown, e.want(200, "PATCH", settingsPath, all).json)
		check("sending the answer back", shown, e.want(200, "PATCH", settingsPath, shown).json)
		shown["digest_threshold"] = 1000.0
		check("one", shown, e.want(200, "PATCH", settingsPath, `{"digest_threshold":1000}`).json)
		for _, empty := range []any{nil, "", []any{}} {
			e.want(200, "PATCH", settingsPath, all)
			emptied := map[string]any{}
			for name := range all {
				emptied[name] = empty
			}
			want := defaultSettings
			if empty != nil {
				want = with(want, map[string]any{"member_notification_types": []any{}})
			}
			check(fmt.Sprintf("emptying with %#v", empty), want, e.want(200, "PATCH", settingsPath, emptied).json)
		}
	})
}

func TestSettingsFaults(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	for _, c := range []struct{ name, value string }{
		{"nonsense", `1`},
		{"email_from", `"nobody"`},
		{"email_from", `"a@example.com, b@example.com"`},
		{"observation_title_notification_email_to", `"x"`},
		{"observation_title_notification_ms_teams_webhook", `"https://hooks.example:8443:1/x"`},
		{"observation_title_notification_slack_webhook", `"https://hooks.slack.com/…a1b2"`},
		{"observation_title_notification_min_severity", `"Severe"`},
		{"observation_title_notification_statuses", `["Gone"]`},
		{"observation_title_notification_min_priority", `100`},
		{"observation_title_notification_parser_type", `"sca"`},
		{"exception_email_to", `"a@b@c"`},
		{"exception_ms_teams_webhook", `true`},
		{"exception_slack_webhook", `"ftp://example.com"`},
		{"exception_rate_limit", `-1`},
		{"exception_rate_limit", `2592001`},
		{"exception_rate_limit", `"3600"`},
		{"member_notification_types", `["exception"]`},
		{"member_notification_types", `["observation_title"]`},
		{"member_notification_types", `"task"`},
		{"delivery_give_up_hours", `0`},
		{"delivery_give_up_hours", `721`},
		{"digest_threshold", `-1`},
		{"digest_threshold", `1001`},
		{"digest_threshold", `1.5`},
		{"observation_url", `"javascript:alert(1)"`},
		{"observation_url", `"https://x.example/{nr}"`},
		{"observation_title_url", `"https://{title}.example/"`},
		{"product_url", `"https://x.example:{id}?{id}"`},
		{"product_url", `"/products/{id}"`},
		{"observation_title_url", `"titles"`},
		{"notification_retention_days", `-1`},
		{"notification_retention_days", `36501`},
		{"cleanup_cron", `"every day"`},
		{"cleanup_cron", `"61 3 * * *"`},
		{"cleanup_cron", `"0 3 * * * *"`},
		{"cleanup_cron", `"0 0 30 2 *"`},
		{"cleanup_cron", `"TZ=0"`},
		{"cleanup_cron", `"CRON_TZ=Europe/Berlin 0 3 * * *"`},
	} {
		if f := e.want(422, "PATCH", settingsPath, `{"`+c.name+`":`+c.value+`}`).faults(); f[c.name] == "" || len(f) != 1 {
			t.Errorf("%s %s: %v", c.name, c.value, f)
		}
	}
	e.want(422, "PATCH", settingsPath, `{"digest_threshold":5,"cleanup_cron":"x"}`)
	if diff := cmp.Diff(defaultSettings, e.want(200, "GET", settingsPath, nil).json); diff != "" {
		t.Errorf("a refused call changed something:\n%s", diff)
	}
}
