// Package email sends messages as mail, through Mailgun or through any mail server (SMTP). It writes each mail once, as
// text and HTML that say the same, and gives it to exactly one receiver. It receives nothing, keeps no list of receivers,
// and neither paces nor retries.
package email

import "github.com/seed91453169/tocsin/channel"

var (
	_ channel.Sender = (*Mailgun)(nil)
	_ channel.Sender = (*SMTP)(nil)
)
