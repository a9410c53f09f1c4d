package slack

import (
	"strings"

	"github.com/seed91453169/tocsin/channel"
)

// Limits of Slack. Beyond any of them but maxFallback it refuses the whole message as invalid_blocks.
const (
	// https://docs.slack.dev/reference/block-kit/blocks (blocks in a message)
	maxBlocks = 50
	// Slack accepts 40,000 characters, but may split a text of more than 4,000:
	// https://api.slack.com/changelog/2018-04-truncating-really-long-messages
	maxFallback = 4000
	// https://docs.slack.dev/reference/block-kit/blocks/header-block
	maxHeader = 150
	// https://docs.slack.dev/reference/block-kit/blocks/section-block
	maxSectionText = 3000
	maxFields      = 10
	maxField       = 2000
	// https://docs.slack.dev/reference/block-kit/block-elements/button-element
	maxButton = 75
)

// Limits of what a person can take in, far below those of Slack.
const (
	maxFacts    = 30
	maxFactName = 100 // characters, like the rest
	maxFactText = 1000
	maxItems    = 30
	maxItemText = 500 // of one part of an item
	maxMore     = 1000
)

type payload struct {
	Text   string  `json:"text"`
	Blocks []block `json:"blocks"`
}

type block struct {
	Type     string `json:"type"`
	Text     *text  `json:"text,omitempty"`
	Fields   []text `json:"fields,omitempty"`
	Elements []any  `json:"elements,omitempty"` // of text or button
}

type text struct {
	Type  string `json:"type"`
	Text  string `json:"text"`
	Emoji *bool  `json:"emoji,omitempty"` // plain_text only
}

type button struct {
	Type     string `json:"type"`
	ActionID string `json:"action_id"`
	Text     text   `json:"text"`
	URL      string `json:"url"`
	Style    string `json:"style,omitempty"`
}

// plain is the only form for untrusted text: *, _, ~ and ` cannot be escaped in mrkdwn. Without emoji: false Slack
// would turn :words: into pictures. Slack refuses an empty text.
func plain(s string) text {
	if s == "" {
		s = "–"
	}
	emoji := false
	return text{Type: "plain_text", Text: s, Emoji: &emoji}
}

func mrkdwn(s string) text { return text{Type: "mrkdwn", Text: s} }

// render makes the payload of m: header, facts, text, digest items, what they leave out, and one button, in this
// order.
func render(m *channel.Message) payload {
	headline := channel.Line(m.Headline, maxFallback)
	header := plain(channel.Truncate(headline, maxHeader))
	blocks := []block{{Type: "header", Text: &header}}
	if channel.Length(headline) > maxHeader { // nothing of a long title is lost
		whole := plain(channel.Truncate(headline, maxSectionText))
		blocks = append(blocks, block{Type: "section", Text: &whole})
	}
	blocks = append(blocks, facts(m.Facts)...)
	if t := channel.Text(m.Text, maxSectionText); t != "" {
		body := plain(t)
		blocks = append(blocks, block{Type: "section", Text: &body})
	}
	tail := closing(m)
	room := max(0, min(maxItems, maxBlocks-len(blocks)-len(tail)))
	for _, it := range m.Items[:min(len(m.Items), room)] {
		blocks = append(blocks, item(it))
	}
	return payload{Text: fallback(headline), Blocks: append(blocks, tail...)}
}

func facts(all []channel.Fact) []block {
	var blocks []block
	for len(all) > 0 && len(blocks) < maxFacts/maxFields {
		n := min(len(all), maxFields)
		fields := make([]text, 0, n)
		for _, f := range all[:n] {
			s := channel.Line(f.Name, maxFactName) + "\n" + channel.Text(f.Value, maxFactText)
			fields = append(fields, plain(channel.Truncate(s, maxField)))
		}
		blocks = append(blocks, block{Type: "section", Fields: fields})
		all = all[n:]
	}
	return blocks
}

// item is one line of a digest, with a link below it where it has an address.
func item(it channel.Item) block {
	var parts []string
	for _, s := range []string{it.Label, it.Event, it.Name, it.Product} {
		if s = channel.Line(s, maxItemText); s != "" {
			parts = append(parts, s)
		}
	}
	line := plain(strings.Join(parts, " · "))
	b := block{Type: "section", Text: &line}
	if link, ok := channel.WebLink(it.URL); ok {
		if s := "<" + escape(link) + "|Open>"; channel.Length(s) <= maxField {
			b.Fields = []text{mrkdwn(s)}
		}
	}
	return b
}

func closing(m *channel.Message) []block {
	var blocks []block
	if s := channel.Line(m.More, maxMore); s != "" {
		blocks = append(blocks, block{Type: "context", Elements: []any{plain(s)}})
	}
	if link, ok := m.Action.Button(maxButton); ok {
		blocks = append(blocks, block{Type: "actions", Elements: []any{
			button{Type: "button", ActionID: "open", Text: plain(link.Label), URL: link.URL},
		}})
	}
	return blocks
}

// escaper covers the three characters that Slack asks to escape, which disarms <!channel> and <@U…> too
// (https://docs.slack.dev/messaging/formatting-message-text).
var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func escape(s string) string { return escaper.Replace(s) }

// fallback is the text for a lock screen: the headline, escaped, and cut so that it is short enough even then, but
// never within an escape.
func fallback(headline string) string {
	s := escape(headline)
	for limit := maxFallback; channel.Length(s) > maxFallback; limit -= limit / 8 {
		s = escape(channel.Truncate(headline, limit))
	}
	return s
}
