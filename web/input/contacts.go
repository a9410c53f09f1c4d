package input

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/rule"
)

// Contacts are the contacts in a body: a field for each channel of rule.SettingChannels. In the struct of the body,
// the tag contacts holds the beginning of the names of these fields, and the tag json is "-".
type Contacts map[rule.Channel]*ContactField

// contactsTag is the name of the tag.
const contactsTag = "contacts"

// ContactField holds email addresses with commas between them, or the URL of a webhook or its redacted form.
type ContactField struct {
	Field[string]
	channel rule.Channel
}

// Field returns the field of a channel. It is not Set where the body has no such field.
func (c Contacts) Field(channel rule.Channel) ContactField {
	if f := c[channel]; f != nil {
		return *f
	}
	return ContactField{channel: channel}
}

// toRead returns the field of a channel, to be read into.
func (c *Contacts) toRead(channel rule.Channel) readable {
	if *c == nil {
		*c = Contacts{}
	}
	f := (*c)[channel]
	if f == nil {
		f = &ContactField{channel: channel}
		(*c)[channel] = f
	}
	return f
}

// read checks email addresses. The URL of a webhook is checked where the stored one is known.
func (f *ContactField) read(v jsontext.Value) string {
	if message := f.Field.read(v); message != "" || f.Empty {
		return message
	}
	if f.channel.Info().ByAddress {
		return checkAddresses(f.Value)
	}
	return addressIn(v, &f.Value, nil)
}

// isWebhook reports whether the field holds the URL of a webhook.
func (f *ContactField) isWebhook() bool { return !f.channel.Info().ByAddress }

// ContactsSchema adds the fields of Contacts to the schema of a struct of the type t that holds them.
func ContactsSchema(s *huma.Schema, t reflect.Type) {
	for _, f := range reflect.VisibleFields(t) {
		prefix, is := f.Tag.Lookup(contactsTag)
		if !is {
			continue
		}
		for _, c := range rule.SettingChannels {
			info := c.Info()
			description := "The URL of a webhook. Answers show its redacted form, " +
				"which may be sent back and then changes nothing."
			if info.ByAddress {
				description = "Email addresses with commas between them"
			}
			s.Properties[prefix+info.Setting] = &huma.Schema{Type: huma.TypeString, Nullable: true, Description: description}
		}
	}
}
