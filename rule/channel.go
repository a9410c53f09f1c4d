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

// ChannelInfo is what differs between channels, apart from their packages.
type ChannelInfo struct {
	Channel Channel
	Name    string // in words
	Short   string // where there is little room
	// Setting is the end of the names of the settings that hold its contacts, as in notification_email_to; empty: no
	// setting holds them.
	Setting   string
	ByAddress bool    // its contacts are email addresses, any number of them; else each is the URL of one webhook
	Signed    bool    // its contacts have secrets; they receive notifications as data, one by one, never summed up
	Help      string  // what to fill in
	Rate      float64 // messages a second for one target, unless the environment says otherwise; 0: no pacing
	// NotConfigured is why nothing can be sent where the environment names no sender.
	NotConfigured Reason
}

// channelTable is the one table of channels: a channel is an entry here, a package below channel, and its
// configuration.
var channelTable = []ChannelInfo{
	{
		Channel: Email, Name: "Email", Short: "Email", Setting: "email_to", ByAddress: true,
		Help:          "Addresses with commas between them.",
		NotConfigured: "email is not configured: set MAILGUN_DOMAIN and MAILGUN_API_KEY, or SMTP_URL",
	},
	{
		Channel: MSTeams, Name: "Microsoft Teams", Short: "Teams", Setting: "ms_teams_webhook", Rate: 4,
		Help: "The address of a workflow that posts to a channel. It is not shown again.", NotConfigured: notConfigured,
	},
	{
		Channel: Slack, Name: "Slack", Short: "Slack", Setting: "slack_webhook", Rate: 1,
		Help: "The address of an incoming webhook. It is not shown again.", NotConfigured: notConfigured,
	},
	{
		Channel: Webhook, Name: "Signed webhook", Short: "Webhook", Signed: true,
		Help: "The address of your own receiver of JSON. It is not shown again.", NotConfigured: notConfigured,
	},
}

// Channels lists all channels.
var Channels = channelsWith(func(ChannelInfo) bool { return true })

// SettingChannels lists the channels whose contacts are settings, of products for example.
var SettingChannels = channelsWith(func(c ChannelInfo) bool { return c.Setting != "" })

func channelsWith(has func(ChannelInfo) bool) []Channel {
	var out []Channel
	for _, c := range channelTable {
		if has(c) {
			out = append(out, c.Channel)
		}
	}
	return out
}

// Info returns the entry of a channel in the table. For an unknown channel it makes one whose name is the word itself.
func (c Channel) Info() ChannelInfo {
	for _, i := range channelTable {
		if i.Channel == c {
			return i
		}
	}
	return ChannelInfo{Channel: c, Name: string(c), Short: string(c), NotConfigured: notConfigured}
}
