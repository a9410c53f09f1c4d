package email

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	htmltemplate "html/template"
	"mime"
	"net/mail"
	"strings"
	texttemplate "text/template"

	"github.com/seed91453169/tocsin/channel"
)

// Limits of a mail. A line of its header has at most 998 bytes (https://www.rfc-editor.org/rfc/rfc5322#section-2.1.1),
// and some mail programs cut a mail at about 100 KB.
const (
	maxSubject = 240  // characters, of at most 4 bytes
	maxLine    = 1000 // characters of one line of the text, not of the header
	maxText    = 20_000
	maxItems   = 50
	maxFacts   = 50
	maxIDLocal = 64 // characters of a Message-ID before its @
	maxButton  = 75
)

const subjectPrefix = "[Tocsin] "

// letter is one mail to one recipient, for Mailgun and SMTP alike. No text in it can break a line of the header.
type letter struct {
	from, to, subject, text, html string
	sender                        string   // from without a display name
	messageID                     string   // without angle brackets, the same for every attempt
	headers                       []header // all other headers
}

type header struct{ name, value string }

//go:embed mail.txt.tmpl
var textSource string

//go:embed mail.html.tmpl
var htmlSource string

var (
	textTemplate = texttemplate.Must(texttemplate.New("text").Parse(textSource))
	htmlTemplate = htmltemplate.Must(htmltemplate.New("html").Parse(htmlSource))
)

// content is the data of both templates.
type content struct {
	Greeting, Headline, Text, More string
	Tone                           channel.Tone
	Facts                          []channel.Fact
	Items                          []channel.Item
	Action                         channel.Link
	Reason, ReasonURL              string
}

// compose makes a mail of m; its errors are permanent.
func compose(to channel.Target, m *channel.Message) (*letter, error) {
	from, err := mail.ParseAddress(m.From)
	if err != nil {
		return nil, permanent("the sender's address (setting email_from) is not valid")
	}
	if from.Address, err = encodeDomain(from.Address); err != nil {
		return nil, permanent("the sender's address (setting email_from) has a domain that is not valid")
	}
	addr := channel.TrimInvisible(to.Address.Reveal())
	if err := CheckAddress(addr); err != nil {
		return nil, permanent("the receiver's address is not valid: it " + err.Error())
	}
	if addr, err = encodeDomain(addr); err != nil {
		return nil, permanent("the receiver's address has a domain that is not valid")
	}
	c := newContent(m)
	var text, html bytes.Buffer
	if textTemplate.Execute(&text, c) != nil || htmlTemplate.Execute(&html, c) != nil {
		return nil, permanent("the mail could not be written")
	}
	domain := from.Address[strings.LastIndexByte(from.Address, '@')+1:]
	l := &letter{
		from: from.Address, sender: from.Address, to: addr,
		subject:   subjectPrefix + literal(channel.Line(m.Headline, maxSubject)),
		text:      text.String(),
		html:      html.String(),
		messageID: messageID(m.ID, domain),
		// An answering machine must not answer: https://www.rfc-editor.org/rfc/rfc3834#section-5 and, for Exchange,
		// https://learn.microsoft.com/openspecs/exchange_server_protocols/ms-oxcmail/ced68690-498a-4567-9d14-5c01f974d8b1
		headers: []header{
			{"Auto-Submitted", "auto-generated"},
			{"X-Auto-Response-Suppress", "DR, RN, NRN, OOF, AutoReply"},
		},
	}
	if link, ok := channel.WebLink(m.Unsubscribe); ok {
		// https://www.rfc-editor.org/rfc/rfc8058#section-3.1
		l.headers = append(l.headers, header{"List-Unsubscribe", "<" + link + ">"}, header{
			"List-Unsubscribe-Post", "List-Unsubscribe=One-Click",
		})
	}
	if from.Name != "" {
		l.from = (&mail.Address{Name: literal(channel.Line(from.Name, 100)), Address: from.Address}).String()
	}
	if m.Thread != "" {
		root := "<" + messageID(m.Thread, domain) + ">"
		l.headers = append(l.headers, header{"References", root}, header{"In-Reply-To", root})
	}
	return l, nil
}

func permanent(reason string) *channel.Error {
	return &channel.Error{Kind: channel.Permanent, Reason: reason}
}

// literal keeps mail programs from decoding text of a header that looks like an encoded word
// (https://www.rfc-editor.org/rfc/rfc2047#section-2): it puts a zero-width space where one would begin.
func literal(s string) string {
	if read, err := new(mime.WordDecoder).DecodeHeader(s); err == nil && read == s {
		return s
	}
	return strings.ReplaceAll(s, "=?", "=\u200b?")
}

func newContent(m *channel.Message) content {
	c := content{
		Greeting: channel.Line(m.Greeting, 100),
		Headline: channel.Line(m.Headline, maxLine),
		Text:     channel.Text(m.Text, maxText),
		More:     channel.Line(m.More, maxLine),
		Tone:     m.Tone,
		Reason:   reason(m.Reason),
	}
	for _, f := range m.Facts[:min(len(m.Facts), maxFacts)] {
		if value := channel.Line(f.Value, maxLine); value != "" {
			c.Facts = append(c.Facts, channel.Fact{Name: channel.Line(f.Name, 100), Value: value})
		}
	}
	for _, it := range m.Items[:min(len(m.Items), maxItems)] {
		link, _ := channel.WebLink(it.URL)
		c.Items = append(c.Items, channel.Item{
			Label: channel.Line(it.Label, 100), Event: channel.Line(it.Event, 200), Name: channel.Line(it.Name, 300),
			Product: channel.Line(it.Product, 200), URL: link,
		})
	}
	if link, ok := m.Action.Button(maxButton); ok {
		c.Action = link
	}
	c.ReasonURL, _ = channel.WebLink(m.ReasonURL)
	return c
}

// reason makes a sentence of "because …"; another text stays as it is.
func reason(s string) string {
	s = channel.Line(s, maxLine)
	if strings.HasPrefix(s, "because ") {
		s = "You get this mail " + s
	}
	if s != "" && !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, "…") {
		s += "."
	}
	return s
}

// messageID returns local@domain with only the characters that https://www.rfc-editor.org/rfc/rfc5322#section-3.6.4
// allows without quotes. It replaces an empty local part by a random one.
func messageID(local, domain string) string {
	keep := func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}
	local = strings.Trim(strings.Map(keep, channel.Truncate(local, maxIDLocal)), ".-")
	if local == "" {
		local = rand.Text()
	}
	return local + "@" + strings.Trim(strings.Map(keep, domain), ".-")
}
