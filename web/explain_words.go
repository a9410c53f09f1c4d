package web

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed91453169/tocsin/rule"
)

// decision says in words what an evaluation would do now, and why.
func (e *explainer) decision(x rule.Explanation, title bool) string {
	switch x.Event {
	case rule.EventNew:
		why := "every condition is met"
		if c := exploitedCondition(x); c != nil && c.Met && slices.ContainsFunc(x.Conditions, func(c rule.Condition) bool {
			return !c.Met
		}) {
			why = "it is known to be exploited, which " + e.asks(c.Source)
		}
		return "Notified as new at its next evaluation: " + why + ", and nothing was notified of it before."
	case rule.EventChanged:
		since := ""
		if c := exploitedCondition(x); c != nil && c.Met && !x.Remembered.Exploited() {
			since = ", and is known to be exploited now"
		}
		return "Notified as changed at its next evaluation: it was last notified as " +
			valuesInWords(x.Remembered) + since + "."
	case rule.EventDropped:
		return "Notified as dropped at its next evaluation: it was last notified as " + valuesInWords(x.Remembered) +
			", and now " + e.unmet(x, title) + "."
	case rule.NoEvent, rule.EventPassed, rule.EventFailed, rule.EventNoResult:
	}
	if x.Matches {
		return "Not notified again: it was notified as it is, " + valuesInWords(x.Remembered) + "."
	}
	return "Not notified: " + e.unmet(x, title) + "."
}

// unmet says which conditions are not met.
func (e *explainer) unmet(x rule.Explanation, title bool) string {
	switch {
	case !x.IsSet && title:
		return "no condition for observation titles is set in the settings"
	case !x.IsSet && e.product.GroupName == "":
		return "no condition is set for product " + e.product.Name
	case !x.IsSet:
		return "no condition is set for product " + e.product.Name + ", nor for group " + e.product.GroupName
	}
	var reasons []string
	for _, c := range x.Unmet() {
		reasons = append(reasons, e.unmetCondition(c))
	}
	return strings.Join(reasons, "; ")
}

func (e *explainer) unmetCondition(c rule.Condition) string {
	switch c.Name {
	case "min_severity":
		return fmt.Sprintf("%v is below %v, which %s", c.Value, c.Limit, e.asks(c.Source))
	case "min_priority":
		if c.Value == nil {
			return fmt.Sprintf("it has no priority, and %s %v or more urgent", e.asks(c.Source), c.Limit)
		}
		return fmt.Sprintf("priority %v is less urgent than %v, which %s", c.Value, c.Limit, e.asks(c.Source))
	case "statuses":
		statuses, _ := c.Limit.([]rule.Status)
		if len(statuses) == 0 {
			return fmt.Sprintf("%v is not an active status", c.Value)
		}
		return fmt.Sprintf("%v is none of %s, which %s", c.Value, rule.Joined(statuses), e.asks(c.Source))
	case "known_exploited":
		return "it is not known to be exploited, which " + e.asks(c.Source)
	}
	return fmt.Sprintf("%v is not %v, which %s", c.Value, c.Limit, e.asks(c.Source))
}

// exploitedCondition returns the condition that an observation is known to be exploited, nil where it is not set.
func exploitedCondition(x rule.Explanation) *rule.Condition {
	for i := range x.Conditions {
		if x.Conditions[i].Name == "known_exploited" {
			return &x.Conditions[i]
		}
	}
	return nil
}

func (e *explainer) asks(from rule.SettingSource) string {
	switch from {
	case rule.FromProduct:
		return "product " + e.product.Name + " asks for"
	case rule.FromGroup:
		return "group " + e.product.GroupName + " asks for"
	case rule.FromSettings, rule.FromSubscription, rule.FromNowhere:
	}
	return "the settings ask for"
}

func (e *explainer) pausedBy() string {
	if e.product.Product.Paused {
		return "product " + e.product.Name
	}
	return "group " + e.product.GroupName
}

// noRecipient says why nothing is delivered, whatever is decided; empty: there is a recipient.
func (e *explainer) noRecipient(x ExplainedAnswer) string {
	const none = " No recipient: "
	switch {
	case slices.ContainsFunc(x.Recipients, func(r ExplainedRecipient) bool { return r.Recipient }):
		return ""
	case x.Paused:
		return none + "notifications of " + e.pausedBy() + " are paused."
	case len(x.Recipients) == 0:
		return none + "neither an email address nor a webhook is set."
	}
	return none + x.Recipients[0].Reason
}

// valuesInWords is "High, Open, priority 3".
func valuesInWords(v *rule.Values) string {
	words := fmt.Sprintf("%s, %s", v.Severity, v.Status)
	if v.Priority != nil {
		words += fmt.Sprintf(", priority %d", *v.Priority)
	}
	if v.Exploited() {
		words += ", known exploited"
	}
	return words
}
