package demo

import (
	"context"
	"time"

	"github.com/seed91453169/tocsin/client"
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

// readerName is the user who subscribes to a digest each morning.
const readerName = "auditor"

// users are further users and the product groups and products of which they are members. They can log in once an
// administrator has generated a password for them.
var users = []struct {
	name           string
	group, product int64 // one of them
	role           client.Role
}{
	{userName, images, 0, client.RoleMaintainer},
	{"container-owner", images, 0, client.RoleOwner},
	{"repository-maintainer", repositories, 0, client.RoleMaintainer},
	{readerName, repositories, 0, client.RoleReader},
	{readerName, 0, spring, client.RoleReader},
}

// setUp stores the settings: groups with one or two channels each, a few products that differ from their group,
// global settings for titles and exceptions, and users with roles.
func setUp(ctx context.Context, api tocsin, to *Receiver, products []product) error {
	for name, fields := range map[string]client.UserFields{
		userName:   {FullName: new("Alex Example"), Email: new(userEmail)},
		readerName: {FullName: new("Robin Example"), Email: new("auditor@demo.example")},
	} {
		if _, err := api.PutUser(ctx, name, fields); err != nil {
			return err
		}
	}
	_, err := api.PatchSettings(ctx, client.SettingsFields{
		EmailFrom: new("noreply@tocsin.example"),
		// The import has more such titles than digest_threshold: Slack gets a digest, however slow the machine is.
		ObservationTitleNotificationMinSeverity:  new(client.OptionalSeverityHigh),
		ObservationTitleNotificationEmailTo:      new("security@demo.example"),
		ObservationTitleNotificationSlackWebhook: new(to.slackURL("security")),
		ExceptionEmailTo:                         new("operations@demo.example"),
		ExceptionMsTeamsWebhook:                  new(to.teamsURL("operations")),
		ExceptionSlackWebhook:                    new(to.slackURL("operations")),
		ExceptionRateLimit:                       new(int64(silence.Seconds())),
		MemberNotificationTypes: &[]client.MemberType{
			client.MemberTypeObservation, client.MemberTypeSecurityGate, client.MemberTypeTask,
		},
	})
	if err != nil {
		return err
	}
	for id, group := range groups(to) {
		if _, err := api.PutProductGroup(ctx, id, group); err != nil {
			return err
		}
	}
	own := ownSettings(to)
	for _, p := range products {
		fields := own[p.ID]
		fields.Name, fields.ProductGroupID = &p.Name, &p.GroupID
		if _, err := api.PutProduct(ctx, p.ID, fields); err != nil {
			return err
		}
	}
	if err := addMembers(ctx, api); err != nil {
		return err
	}
	return subscribe(ctx, api, to)
}

func groups(to *Receiver) map[int64]client.ProductGroupFields {
	return map[int64]client.ProductGroupFields{
		images: {
			Name: new("Container images"), ObservationNotificationMinSeverity: new(client.OptionalSeverityHigh),
			NotificationEmailTo:      new("container-team@demo.example, " + userEmail),
			NotificationSlackWebhook: new(to.slackURL("container-images")),
		},
		repositories: {
			Name: new("Repositories"), ObservationNotificationMinSeverity: new(client.OptionalSeverityHigh),
			NotificationEmailTo:        new("repository-team@demo.example"),
			NotificationMsTeamsWebhook: new(to.teamsURL("repositories")),
		},
		fileSystems: {
			Name: new("File systems"), ObservationNotificationMinSeverity: new(client.OptionalSeverityLow),
			NotificationSlackWebhook: new(to.slackURL("file-systems")),
		},
	}
}

// ownSettings are the settings of the products that differ from their group.
func ownSettings(to *Receiver) map[int64]client.ProductFields {
	return map[int64]client.ProductFields{
		alpine: { // whose team hears of what is Critical, and of what is known to be exploited
			NotificationMsTeamsWebhook:            new(to.teamsURL("alpine")),
			ObservationNotificationMinSeverity:    new(client.OptionalSeverityCritical),
			ObservationNotificationKnownExploited: new(true),
		},
		helm: {
			ObservationNotificationMinSeverity: new(client.OptionalSeverityMedium),
			NotificationSlackWebhook:           new(to.slackURL("helm")),
		},
		photon: {NotificationSlackWebhook: new(to.slackURL(archived + "photon"))},   // which fails for good
		debian: {NotificationSlackWebhook: new(to.slackURL(overloaded + "debian"))}, // which is tried again and again
		ubi:    {NotificationPausedUntil: new(time.Now().Add(24 * time.Hour).UTC().Truncate(time.Minute))},
		secrets: {
			ObservationNotificationStatuses: &[]client.ObservationStatus{
				client.ObservationStatusOpen, client.ObservationStatusAffected, client.ObservationStatusInReview,
			},
			NotificationSlackWebhook: new(to.slackURL("leaked-secrets")),
		},
	}
}

// addMembers adds users and makes them members.
func addMembers(ctx context.Context, api tocsin) error {
	for _, u := range users {
		if _, err := api.PutUser(ctx, u.name, client.UserFields{}); err != nil {
			return err
		}
		put, of := api.PutProductGroupMember, u.group
		if u.product != 0 {
			put, of = api.PutProductMember, u.product
		}
		if err := put(ctx, of, u.name, u.role); err != nil {
			return err
		}
	}
	return nil
}
