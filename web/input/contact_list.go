package input

import (
	"bytes"
	"fmt"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/channel/email"
	"github.com/seed91453169/tocsin/rule"
)

// MaxContacts is how many contacts a subscription has at most.
const MaxContacts = 20

// Contact is a contact of a subscription.
type Contact struct {
	ID      int64 // 0: a new one
	Channel rule.Channel
	Address string // empty: the one that is stored or, for email, that of the user
}

// contactListIn reads contacts. Whether an address is needed, and the URL of a webhook, are checked where the stored
// ones and the user are known.
func contactListIn(v jsontext.Value, to *ContactList) string {
	message := fmt.Sprintf("must be a list of 1 to %d contacts", MaxContacts)
	faulty := ""
	ok := eachElement(v, func(e jsontext.Value) bool {
		if len(*to) == MaxContacts {
			faulty = ""
			return false
		}
		var c Contact
		if fault := c.read(e); fault != "" && faulty == "" {
			faulty = fmt.Sprintf("has a faulty contact, number %d: %s", len(*to)+1, fault)
		}
		*to = append(*to, c)
		return true
	})
	switch {
	case faulty != "":
		return faulty
	case !ok:
		return message
	}
	return ""
}

// read reads one contact. When it was disabled is answered, and may be sent back.
func (c *Contact) read(v jsontext.Value) (message string) {
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	err := readObject(dec, func(name string) error {
		raw, err := dec.ReadValue()
		if err != nil || message != "" {
			return err
		}
		switch {
		case name == "disabled_at" || name == "secret" && raw.Kind() == 'n':
		case name != "id" && name != "channel" && name != "address":
			message = "it has a field that no contact has"
		case raw.Kind() == 'n':
		case name == "id":
			if c.ID, message = wholeNumber(raw); message != "" || c.ID < 1 {
				message = "id must be that of a contact of the subscription"
			}
		case name == "channel":
			if message = wordIn(raw, rule.Channels, &c.Channel); message != "" {
				message = "channel " + message
			}
		default:
			if message = addressIn(raw, &c.Address, nil); message != "" {
				message = "address " + message
			}
		}
		return nil
	})
	switch {
	case message != "":
	case err != nil:
		message = "it must be an object with channel and address"
	case c.ID == 0 && c.Channel == "":
		message = "channel " + MustBeOneOf(rule.Channels)
	case c.Fault() != "":
		message = "address " + c.Fault()
	}
	return message
}

// Fault returns what is wrong with the address of a contact by email; empty: nothing.
func (c *Contact) Fault() string {
	if c.Channel.Info().ByAddress && c.Address != "" && email.CheckAddress(c.Address) != nil {
		return "must be one email address, like alex@example.com"
	}
	return ""
}

// contactSchema returns a reference to the schema of a contact, which it adds to the registry.
func contactSchema(r huma.Registry) *huma.Schema {
	const name = "ContactFields"
	text := func(description string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, Nullable: true, Description: description}
	}
	r.Map()[name] = &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{
		"id": {
			Type: huma.TypeInteger, Format: int64Format, Nullable: true,
			Description: "Of one that the subscription has; left out for a new one",
		},
		"channel": WordSchema(rule.Channels),
		"address": text("An email address or the URL of a webhook. The redacted form, or none, " +
			"of one with an id changes nothing."),
		"disabled_at": text("May be sent back, and changes nothing"),
	}, AdditionalProperties: false}
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}
