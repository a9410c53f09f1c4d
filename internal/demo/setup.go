package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Product groups of the sample.
const (
	images = iota + 1
	repositories
	fileSystems
)

// Products of the sample that the story is about, or that have settings of their own.
const (
	alpine  = 3
	debian  = 17
	helm    = 31
	photon  = 42
	secrets = 52
	spring  = 54
	ubi     = 62
)

// The user that mail greets by name.
const (
	userName  = "alex"
	userEmail = "alex@demo.example"
)

// users are further users and the products and groups of which they are members. They can log in once an administrator
// has generated a password for them.
var users = []struct{ name, of, role string }{
	{userName, "/product-groups/1", "maintainer"},
	{"container-owner", "/product-groups/1", "owner"},
	{"repository-maintainer", "/product-groups/2", "maintainer"},
	{"auditor", "/product-groups/2", "reader"},
	{"auditor", "/products/54", "reader"},
}

type object = map[string]any

// setUp stores the settings: groups with one or two channels each, a few products that differ from their group,
// global settings for titles and exceptions, and users with roles.
func setUp(ctx context.Context, api *client, to *Receiver, products []product) error {
	put := func(path string, body object) error { return api.send(ctx, http.MethodPut, path, body) }
	if err := put("/users/"+userName, object{"full_name": "Alex Example", "email": userEmail}); err != nil {
		return err
	}
	err := api.send(ctx, http.MethodPatch, "/settings", object{
		"email_from": "noreply@tocsin.example",
		// The import has more such titles than digest_threshold: Slack gets a digest, however slow the machine is.
		"observation_title_notification_min_severity":  "High",
		"observation_title_notification_email_to":      "security@demo.example",
		"observation_title_notification_slack_webhook": to.slackURL("security"),
		"exception_email_to":                           "operations@demo.example",
		"exception_ms_teams_webhook":                   to.teamsURL("operations"),
		"exception_slack_webhook":                      to.slackURL("operations"),
		"exception_rate_limit":                         int(silence.Seconds()),
	})
	if err != nil {
		return err
	}
	for id, group := range map[int64]object{
		images: {
			"name": "Container images", "observation_notification_min_severity": "High",
			"notification_email_to":      "container-team@demo.example, " + userEmail,
			"notification_slack_webhook": to.slackURL("container-images"),
		},
		repositories: {
			"name": "Repositories", "observation_notification_min_severity": "High",
			"notification_email_to":         "repository-team@demo.example",
			"notification_ms_teams_webhook": to.teamsURL("repositories"),
		},
		fileSystems: {
			"name": "File systems", "observation_notification_min_severity": "Low",
			"notification_slack_webhook": to.slackURL("file-systems"),
		},
	} {
		if err := put(fmt.Sprintf("/product-groups/%d", id), group); err != nil {
			return err
		}
	}
	own := map[int64]object{
		alpine: {"notification_ms_teams_webhook": to.teamsURL("alpine")},
		helm:   {"observation_notification_min_severity": "Medium", "notification_slack_webhook": to.slackURL("helm")},
		photon: {"notification_slack_webhook": to.slackURL(archived + "photon")},   // which fails for good
		debian: {"notification_slack_webhook": to.slackURL(overloaded + "debian")}, // which is tried again and again
		ubi:    {"notification_paused_until": time.Now().Add(24 * time.Hour).UTC().Truncate(time.Minute)},
		secrets: {
			"observation_notification_statuses": []string{"Open", "Affected", "In review"},
			"notification_slack_webhook":        to.slackURL("leaked-secrets"),
		},
	}
	for _, p := range products {
		settings := own[p.ID]
		if settings == nil {
			settings = object{}
		}
		settings["name"], settings["product_group_id"] = p.Name, p.GroupID
		if err := put(fmt.Sprintf("/products/%d", p.ID), settings); err != nil {
			return err
		}
	}
	return addMembers(put)
}

// addMembers adds users and makes them members.
func addMembers(put func(path string, body object) error) error {
	for _, u := range users {
		err := errors.Join(put("/users/"+u.name, object{}), put(u.of+"/members/"+u.name, object{"role": u.role}))
		if err != nil {
			return err
		}
	}
	return nil
}
