package rule

// Channel is a way to deliver notifications.
type Channel string

// Channels.
const (
	Email   Channel = "email"
	MSTeams Channel = "ms_teams"
	Slack   Channel = "slack"
	Webhook Channel = "webhook" // signed; of subscriptions only
)

// ChannelInfo is what differs between channels outside of their packages.
type ChannelInfo struct {
	Channel   Channel
	Name      string // in words
	Short     string // where there is little room
	Setting   string // the end of the names of its settings, as in notification_email_to
	Addresses bool   // its contacts are email addresses, any number of them; else each is the URL of one webhook
	Help      string // what to fill in
	// NotConfigured is why nothing can be sent where the environment names no sender.
	NotConfigured Reason
}

// channelTable is the one table of channels: a channel is an entry here, a package below channel, and its configuration.
var channelTable = []ChannelInfo{
	{
		Channel: Email, Name: "Email", Short: "Email", Setting: "email_to", Addresses: true, Help: "Addresses with commas between them.",
		NotConfigured: "email is not configured: set MAILGUN_DOMAIN and MAILGUN_API_KEY, or SMTP_URL",
	},
	{
		Channel: MSTeams, Name: "Microsoft Teams", Short: "Teams", Setting: "ms_teams_webhook",
		Help: "The address of a workflow that posts to a channel. It is not shown again.", NotConfigured: notConfigured,
	},
	{
		Channel: Slack, Name: "Slack", Short: "Slack", Setting: "slack_webhook",
		Help: "The address of an incoming webhook. It is not shown again.", NotConfigured: notConfigured,
	},
}

// Channels lists all channels.
var Channels = func() []Channel {
	out := make([]Channel, len(channelTable))
	for i, c := range channelTable {
		out[i] = c.Channel
	}
	return out
}()

// Info returns the entry of a channel in the table. That of an unknown one has its word for a name.
func (c Channel) Info() ChannelInfo {
	for _, i := range channelTable {
		if i.Channel == c {
			return i
		}
	}
	return ChannelInfo{Channel: c, Name: string(c), Short: string(c), NotConfigured: notConfigured}
}
