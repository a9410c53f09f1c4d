package message

import (
	"strconv"
	"strings"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// TargetFails says that a target fails: "Slack webhook of Payments API fails: 404 (no_service)". address is an email
// address, or a URL that channel.RedactURL has shortened; empty where it cannot be read. places say where the target is
// set now, and reason is the text of channel.Error.Brief.
func TargetFails(c rule.Channel, address string, places []dbmodel.ContactPlace, reason string) string {
	info, what := c.Info(), channelName(c)
	where := Places(places, 1)
	switch {
	case where != "" && info.ByAddress && address != "":
		where += " to " + address
	case where == "" && address != "":
		where = address + ", which is set nowhere any more,"
	case where == "":
		where = "that is set nowhere any more"
	}
	return channel.Line(what+" "+where+" fails: "+reason, maxHeadline)
}

// TargetName returns words for a target, without its address: "Slack webhook of Payments API".
func TargetName(c rule.Channel, places []dbmodel.ContactPlace) string {
	where := Places(places, 1)
	if where == "" {
		where = "that is set nowhere any more"
	}
	return channelName(c) + " " + where
}

func channelName(c rule.Channel) string {
	info := c.Info()
	if !info.ByAddress && !strings.HasSuffix(strings.ToLower(info.Name), "webhook") {
		return info.Name + " webhook"
	}
	return info.Name
}

// Places says where a contact is set, with at most limit places by name: "of Payments API and 2 more". It is empty
// for no places.
func Places(places []dbmodel.ContactPlace, limit int) string {
	named := make([]string, min(limit, len(places)))
	for i := range named {
		named[i] = placeInWords(places[i].Holder, places[i].Name)
	}
	text := strings.Join(named, ", ")
	if more := len(places) - len(named); more > 0 {
		text += " and " + strconv.Itoa(more) + " more"
	}
	return text
}

// placeInWords says whose settings hold a contact: "of Payments API", "of group Payments", "for exceptions".
func placeInWords(h rule.Holder, name string) string {
	name = channel.Line(name, maxProduct)
	switch h.Kind {
	case rule.HolderProduct:
		if name == "" {
			name = "product " + strconv.FormatInt(h.ID, 10)
		}
		return "of " + name
	case rule.HolderGroup:
		if name == "" {
			name = strconv.FormatInt(h.ID, 10)
		}
		return "of group " + name
	case rule.HolderTitles:
		return "of observation titles"
	case rule.HolderExceptions:
		return "for exceptions"
	case rule.HolderSubscription:
		return "of subscription " + name
	}
	return ""
}
