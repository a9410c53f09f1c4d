package msteams

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/seed91453169/tocsin/channel"
)

// maxPayload is the largest request, in bytes. Teams accepts 28 KB, of which its own envelope needs a part:
// https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook
const maxPayload = 19_000

const maxButton = 75 // characters

// Version 1.4 is what Teams shows on the desktop and on telephones alike:
// https://learn.microsoft.com/en-us/microsoftteams/platform/task-modules-and-cards/cards/cards-reference#adaptive-card
const (
	cardVersion = "1.4"
	cardSchema  = "http://adaptivecards.io/schemas/adaptive-card.json"
	contentType = "application/vnd.microsoft.card.adaptive"
)

// limits bound a card, in characters and counts, so that it stays below maxPayload.
type limits struct {
	headline, facts, fact, text, lines, items, item, more int
	links                                                 bool // items have links
}

// roomy are the limits for a card that need not be shortened.
var roomy = limits{
	headline: 1000, facts: 30, fact: 1000, text: 6000, lines: 80, items: 30, item: 300, more: 1000, links: true,
}

// smaller returns the limits for a shorter card: first without the links of a digest's items, then with two thirds of
// each limit.
func (l limits) smaller() limits {
	if l.links {
		l.links = false
		return l
	}
	cut := func(n, least int) int { return max(n*2/3, least) }
	return limits{
		headline: cut(l.headline, 100), facts: cut(l.facts, 8), fact: cut(l.fact, 50), text: cut(l.text, 100),
		lines: cut(l.lines, 5), items: cut(l.items, 5), item: cut(l.item, 50), more: cut(l.more, 100),
	}
}

type (
	message struct {
		Type        string       `json:"type"`
		Attachments []attachment `json:"attachments"` // an array even for one: else the flow fails after its 202
	}
	attachment struct {
		ContentType string  `json:"contentType"`
		ContentURL  *string `json:"contentUrl"`
		Content     card    `json:"content"`
	}
	card struct {
		Schema  string            `json:"$schema"`
		Type    string            `json:"type"`
		Version string            `json:"version"`
		Body    []richText        `json:"body"`
		Actions []openURL         `json:"actions,omitempty"`
		MSTeams map[string]string `json:"msteams"`
	}
	// richText is the only element for untrusted text: a TextBlock or a FactSet reads it as Markdown.
	richText struct {
		Type      string `json:"type"`
		Spacing   string `json:"spacing,omitempty"`
		Separator bool   `json:"separator,omitempty"`
		Inlines   []run  `json:"inlines"`
	}
	run struct {
		Type         string   `json:"type"`
		Text         string   `json:"text"`
		Size         string   `json:"size,omitempty"`
		Weight       string   `json:"weight,omitempty"`
		Color        string   `json:"color,omitempty"`
		FontType     string   `json:"fontType,omitempty"`
		IsSubtle     bool     `json:"isSubtle,omitempty"`
		SelectAction *openURL `json:"selectAction,omitempty"`
	}
	openURL struct {
		Type  string `json:"type"`
		Title string `json:"title,omitempty"`
		URL   string `json:"url"`
	}
)

func block(spacing string, runs ...run) richText {
	return richText{Type: "RichTextBlock", Spacing: spacing, Inlines: runs}
}

// text makes a run of s, which must have been through channel.Line or channel.Text.
func text(s string) run { return run{Type: "TextRun", Text: inert(s)} }

func bold(s string) run {
	r := text(s)
	r.Weight = "Bolder"
	return r
}

// formatted matches text that clients replace by a date even in a TextRun
// (https://learn.microsoft.com/en-us/adaptive-cards/authoring-cards/text-features#datetime-function-rules). An
// invisible word joiner between its braces prevents that.
var formatted = regexp.MustCompile(`\{\{((?:DATE|TIME)\(\d)`)

func inert(s string) string { return formatted.ReplaceAllString(s, "{\u2060{$1") }

// render returns the request for m, shortened until it has at most maxPayload bytes.
func render(m *channel.Message) ([]byte, error) {
	for l := roomy; ; l = l.smaller() {
		b, err := channel.Payload(envelope(m, l))
		if err != nil || len(b) <= maxPayload || l == l.smaller() {
			return b, err
		}
	}
}

func envelope(m *channel.Message, l limits) message {
	c := card{
		Schema: cardSchema, Type: "AdaptiveCard", Version: cardVersion,
		Body: body(m, l), MSTeams: map[string]string{"width": "full"},
	}
	if link, ok := m.Action.Button(maxButton); ok {
		c.Actions = []openURL{{Type: "Action.OpenUrl", Title: link.Label, URL: link.URL}}
	}
	return message{Type: "message", Attachments: []attachment{{ContentType: contentType, Content: c}}}
}

func body(m *channel.Message, l limits) []richText {
	heading := bold(channel.Line(m.Headline, l.headline))
	heading.Size, heading.Color = "Large", color(m.Tone)
	if heading.Text == "" { // an element without text is dropped
		heading.Text = "–"
	}
	blocks := []richText{block("", heading)}
	spacing := "Default"
	for _, f := range m.Facts[:min(len(m.Facts), l.facts)] {
		if value := channel.Line(f.Value, l.fact); value != "" { // a run without text is dropped
			blocks = append(blocks, block(spacing, bold(channel.Line(f.Name, 100)+": "), text(value)))
			spacing = "None"
		}
	}
	blocks = append(blocks, preformatted(m.Text, l)...)
	shown := m.Items[:min(len(m.Items), l.items)]
	for i, it := range shown {
		b := item(it, l)
		b.Separator = i == 0
		blocks = append(blocks, b)
	}
	more := m.More
	if n := len(m.Items) - len(shown); n > 0 {
		more = fmt.Sprintf("%d more without room here. %s", n, m.More)
	}
	if s := channel.Line(more, l.more); s != "" {
		r := text(s)
		r.IsSubtle = true
		blocks = append(blocks, block("Small", r))
	}
	return blocks
}

// preformatted keeps lines and their indent. Each line is an element of its own, because clients differ in how they
// show a line break within a run.
func preformatted(s string, l limits) []richText {
	s = channel.Text(s, l.text)
	if s == "" {
		return nil
	}
	lines := strings.Split(s, "\n")
	if len(lines) > l.lines {
		lines = append(lines[:l.lines-1], "…")
	}
	blocks := make([]richText, 0, len(lines))
	for i, line := range lines {
		r := text(indent(line))
		r.FontType, r.Size = "Monospace", "Small"
		b := block("None", r)
		if i == 0 {
			b.Spacing, b.Separator = "Medium", true
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// indent turns leading white space into no-break spaces, which clients keep; an empty line becomes one.
func indent(line string) string {
	line = strings.ReplaceAll(line, "\t", "    ")
	rest := strings.TrimLeft(line, " ")
	n := len(line) - len(rest)
	if rest == "" {
		n = 1
	}
	return strings.Repeat("\u00a0", n) + rest
}

func item(it channel.Item, l limits) richText {
	var runs []run
	add := func(r run) {
		if strings.TrimSpace(r.Text) == "" {
			return
		}
		if len(runs) > 0 {
			runs = append(runs, text(" · "))
		}
		runs = append(runs, r)
	}
	add(bold(channel.Line(it.Label, 50)))
	add(text(channel.Line(it.Event, 100)))
	name := text(channel.Line(it.Name, l.item))
	if link, ok := channel.WebLink(it.URL); ok && l.links {
		name.SelectAction = &openURL{Type: "Action.OpenUrl", URL: link}
	}
	add(name)
	product := text(channel.Line(it.Product, l.item))
	product.IsSubtle = true
	add(product)
	if len(runs) == 0 {
		runs = []run{text("–")}
	}
	return block("Small", runs...)
}

// color returns the word of https://adaptivecards.io/explorer/TextRun.html for a tone.
func color(t channel.Tone) string {
	switch t {
	case channel.Attention:
		return "Attention"
	case channel.Warning:
		return "Warning"
	case channel.Accent:
		return "Accent"
	case channel.Good:
		return "Good"
	case channel.Default:
	}
	return "Default"
}
