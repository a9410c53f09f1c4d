package demo

import (
	"encoding/json"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Slack's limits, of which it says no more than invalid_blocks: https://docs.slack.dev/reference/block-kit/blocks
const (
	maxSlackBlocks  = 50
	maxSlackHeader  = 150
	maxSlackSection = 3000
	maxSlackFields  = 10
)

type slackMessage struct {
	Text   string       `json:"text"`
	Blocks []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type     string         `json:"type"`
	Text     *slackText     `json:"text"`
	Fields   []slackText    `json:"fields"`
	Elements []slackElement `json:"elements"`
}

type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// slackElement is a text of a context, or a button of actions: they differ in what "text" is.
type slackElement struct {
	Type string          `json:"type"`
	Text json.RawMessage `json:"text"`
	URL  string          `json:"url"`
}

// readSlack returns the message, or Slack's word for what is wrong with it.
func readSlack(body []byte) (m message, fault string) {
	var in slackMessage
	if json.Unmarshal(body, &in) != nil {
		return message{}, "invalid_payload"
	}
	if in.Text == "" && len(in.Blocks) == 0 {
		return message{}, "no_text"
	}
	if len(in.Blocks) > maxSlackBlocks {
		return message{}, "invalid_blocks"
	}
	m = message{Kind: kindSlack, Lead: unescapeSlack(in.Text)}
	for _, b := range in.Blocks {
		if !b.valid() {
			return message{}, "invalid_blocks"
		}
		m.Content = append(m.Content, b.nodes()...)
	}
	if len(in.Blocks) == 0 {
		m.Content = []node{block("", mrkdwn(in.Text)...)}
	}
	return m, ""
}

func (b slackBlock) valid() bool {
	switch b.Type {
	case "header":
		return b.Text != nil && within(b.Text.Text, maxSlackHeader)
	case "section":
		if b.Text != nil && !within(b.Text.Text, maxSlackSection) {
			return false
		}
		return (b.Text != nil || len(b.Fields) > 0) && len(b.Fields) <= maxSlackFields
	}
	return true
}

func within(s string, limit int) bool { return s != "" && utf8.RuneCountInString(s) <= limit }

func (b slackBlock) nodes() []node {
	switch b.Type {
	case "header":
		return []node{block("heading", b.Text.runs()...)}
	case "section":
		var out []node
		if b.Text != nil {
			out = append(out, block("", b.Text.runs()...))
		}
		var fields []node
		for _, f := range b.Fields {
			fields = append(fields, block("", f.runs()...))
		}
		if len(fields) > 0 {
			out = append(out, group("fields", fields))
		}
		return out
	case "context", "actions":
		var out []node
		for _, e := range b.Elements {
			out = append(out, e.node())
		}
		return []node{group(b.Type, out)}
	case "divider":
		return []node{group("divider", nil)}
	}
	return []node{unknown(b.Type)}
}

func (e slackElement) node() node {
	var plain string
	var object slackText
	switch {
	case e.Type == "button" && json.Unmarshal(e.Text, &object) == nil:
		return node{Kind: buttonNode, Text: object.Text, URL: e.URL}
	case json.Unmarshal(e.Text, &plain) == nil:
		return block("subtle", slackText{e.Type, plain}.runs()...)
	}
	return unknown(e.Type)
}

func (t slackText) runs() []node {
	if t.Type == "mrkdwn" {
		return mrkdwn(t.Text)
	}
	return []node{run("", t.Text)}
}

// slackLink is <url> or <url|label>; mentions and the like are left as they are.
var slackLink = regexp.MustCompile(`<(https?://[^|>]+)(?:\|([^>]*))?>`)

// mrkdwn draws links; of formatting Tocsin uses none.
func mrkdwn(s string) []node {
	var runs []node
	at := 0
	for _, found := range slackLink.FindAllStringSubmatchIndex(s, -1) {
		if found[0] > at {
			runs = append(runs, run("", unescapeSlack(s[at:found[0]])))
		}
		link := run("", unescapeSlack(s[found[2]:found[3]]))
		link.URL = link.Text
		if found[4] >= 0 {
			link.Text = unescapeSlack(s[found[4]:found[5]])
		}
		runs = append(runs, link)
		at = found[1]
	}
	if at < len(s) {
		runs = append(runs, run("", unescapeSlack(s[at:])))
	}
	return runs
}

var slackUnescaper = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")

func unescapeSlack(s string) string { return slackUnescaper.Replace(s) }
