package web

import (
	"fmt"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// contactSource is the place where a contact is set.
type contactSource struct {
	Kind contactHolder `json:"kind"`
	ID   *int64        `json:"id" doc:"Of the product, product group or subscription; null: the settings, or one that is gone"`
	Name string        `json:"name" doc:"Of the product, product group or subscription"`
}

// newContactSource returns the place where the contacts of a holder are set; nil where the holder is not known. A
// holder that is gone has no name.
func newContactSource(h rule.Holder, name string) *contactSource {
	s := &contactSource{Kind: contactHolder(h.SettingSource()), Name: name}
	switch {
	case h.SettingSource() == rule.FromNowhere:
		return nil
	case h.ID != 0:
		s.ID = &h.ID
	}
	return s
}

// sourceLink says in words where a contact of a channel is set, and links the field; without a path where v sees none.
func sourceLink(v dbmodel.Viewer, h rule.Holder, name string, c rule.Channel) linkTo {
	anchor := "#" + contactPrefix(h.Kind) + c.Info().Setting
	switch h.Kind {
	case rule.HolderProduct:
		if h.ID == 0 {
			return linkTo{Text: "a product that is gone"}
		}
		return linkTo{productPath(h.ID) + anchor, "product " + shortened(name)}
	case rule.HolderGroup:
		if h.ID == 0 {
			return linkTo{Text: "the group of that time"}
		}
		return linkTo{groupPath(h.ID) + anchor, "group " + shortened(name)}
	case rule.HolderTitles, rule.HolderExceptions:
		if !v.Admin {
			return linkTo{Text: "settings"}
		}
		return linkTo{settingsPath + anchor, "settings"}
	case rule.HolderSubscription:
		if h.ID == 0 {
			return linkTo{Text: "a subscription that is gone"}
		}
		return linkTo{subscriptionPath(h.ID), "subscription " + shortened(name)}
	}
	return linkTo{}
}

// deliveredFrom is sourceLink of the contact that a delivery comes from.
func deliveredFrom(v dbmodel.Viewer, d *dbmodel.Delivery) linkTo {
	return sourceLink(v, d.Holder, d.HolderName, d.Channel)
}

// contactPrefix begins the names of the fields in which the contacts of a kind of holder are set.
func contactPrefix(kind rule.HolderKind) string {
	switch kind {
	case rule.HolderTitles:
		return titlePrefix
	case rule.HolderExceptions:
		return exceptionPrefix
	case rule.HolderProduct, rule.HolderGroup, rule.HolderSubscription:
	}
	return "notification_"
}

func subscriptionPath(id int64) string { return fmt.Sprintf("/subscriptions/%d", id) }
