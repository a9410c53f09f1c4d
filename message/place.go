package message

import (
	"strconv"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// place is where the contact of a message is set.
type place struct {
	text string // "the notification settings of Payments API"
	page string // on which the contact is changed
}

// The places in the global settings.
var (
	titleSettings = holderPlace(rule.Holder{Kind: rule.HolderTitles}, "",
		"settings#observation_title_notification_email_to")
	faultSettings = holderPlace(rule.Holder{Kind: rule.HolderExceptions}, "", "settings#exception_email_to")
)

// emailField is the field for email addresses on the page of a product or of a group.
const emailField = "#notification_email_to"

// settingPlace returns the place of the contact through which n alone, outside a digest, reaches a recipient.
func settingPlace(n *dbmodel.Notification, to Recipient) place {
	if to.Holder.Kind == rule.HolderSubscription {
		return subscriptionPlace(to.Holder.ID, to.HolderName)
	}
	switch n.Type.Info().Holder {
	case rule.HolderTitles:
		return titleSettings
	case rule.HolderExceptions:
		return faultSettings
	default:
	}
	if n.ProductID == nil {
		return place{"the notification settings", "settings"}
	}
	if to.Holder.Kind == rule.HolderGroup {
		return groupPlace(to.Holder.ID, n.Facts.ProductGroupName)
	}
	product := rule.Holder{Kind: rule.HolderProduct, ID: *n.ProductID}
	return holderPlace(product, productName(n), productPage(product.ID)+emailField)
}

// digestPlace returns the place of the contact through which a digest reaches a recipient. known is false unless the
// contact belongs to a subscription or a product group: any other one is known only by what the digest is about.
func digestPlace(to Recipient) (p place, known bool) {
	switch to.Holder.Kind {
	case rule.HolderSubscription:
		return subscriptionPlace(to.Holder.ID, to.HolderName), true
	case rule.HolderGroup:
		return groupPlace(to.Holder.ID, to.HolderName), true
	case rule.HolderProduct, rule.HolderTitles, rule.HolderExceptions:
	}
	return place{}, false
}

// subscriptionPlace is where the contacts of a subscription are set.
func subscriptionPlace(id int64, name string) place {
	return place{"the subscription " + channel.Line(name, maxProduct), "subscriptions/" + strconv.FormatInt(id, 10)}
}

// groupPlace is where the contacts of a product group are set.
func groupPlace(id int64, name string) place {
	group := rule.Holder{Kind: rule.HolderGroup, ID: id}
	return holderPlace(group, name, "product-groups/"+strconv.FormatInt(id, 10)+emailField)
}

// holderPlace is where the contacts of a product, of a group, or of a part of the settings are set.
func holderPlace(h rule.Holder, name, page string) place {
	return place{"the notification settings " + placeInWords(h, name), page}
}

func productPage(id int64) string { return "products/" + strconv.FormatInt(id, 10) }
