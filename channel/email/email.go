// Package email sends messages as mail, through Mailgun or through a mail server (SMTP). Each mail has the same
// content as text and as HTML, and exactly one recipient. The package receives no mail, keeps no list of recipients,
// and neither paces nor retries.
package email

import "github.com/seed91453169/tocsin/channel"

var (
	_ channel.Sender = (*Mailgun)(nil)
	_ channel.Sender = (*SMTP)(nil)
)
