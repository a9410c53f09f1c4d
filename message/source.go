package message

import (
	"strconv"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// source is the place where the contact of a message is set.
type source struct {
	text string // "the notification settings of Payments API"
	page string // where that is changed
}

// The sources in the global settings.
var (
	titleSettings = holderSource(rule.Holder{Kind: rule.HolderTitles}, "",
		"settings#observation_title_notification_email_to")
	faultSettings = holderSource(rule.Holder{Kind: rule.HolderExceptions}, "", "settings#exception_email_to")
)

// emailField is the field for email addresses on the page of a product or of a group.
const emailField = "#notification_email_to"

// sourceOf returns where the contact is set by which n reaches a recipient.
func sourceOf(n *dbmodel.Notification, to Recipient) source {
	if to.Source.Kind == rule.HolderSubscription {
		return subscriptionSource(to.Source.ID, to.SourceName)
	}
	switch n.Type.Info().Holder {
	case rule.HolderTitles:
		return titleSettings
	case rule.HolderExceptions:
		return faultSettings
	default:
	}
	if n.ProductID == nil {
		return source{"the notification settings", "settings"}
	}
	if to.Source.Kind == rule.HolderGroup {
		return groupSource(to.Source.ID, n.Facts.ProductGroupName)
	}
	product := rule.Holder{Kind: rule.HolderProduct, ID: *n.ProductID}
	return holderSource(product, productName(n), productPage(product.ID)+emailField)
}

// subscriptionSource is the source of the contacts of a subscription.
func subscriptionSource(id int64, name string) source {
	return source{"the subscription " + channel.Line(name, maxProduct), "subscriptions/" + strconv.FormatInt(id, 10)}
}

// groupSource is the source of the contacts of a product group.
func groupSource(id int64, name string) source {
	group := rule.Holder{Kind: rule.HolderGroup, ID: id}
	return holderSource(group, name, "product-groups/"+strconv.FormatInt(id, 10)+emailField)
}

// holderSource is the source of the contacts of a product, of a group, or of a part of the settings.
func holderSource(h rule.Holder, name, page string) source {
	return source{"the notification settings " + placeInWords(h, name), page}
}

func productPage(id int64) string { return "products/" + strconv.FormatInt(id, 10) }
