package dbmodel_test

import (
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// TestSetValuesReplaces: values that are set later leave nothing of those before.
func TestSetValuesReplaces(t *testing.T) {
	t.Parallel()
	var n dbmodel.Notification
	n.SetValues(&rule.Values{Severity: rule.High, Priority: new(1)}, &rule.Values{Severity: rule.Low, KnownExploited: new(true)})
	n.SetValues(nil, nil)
	if n.Before() != nil || n.After() != nil || n.BeforePriority != nil || n.AfterKnownExploited != nil {
		t.Errorf("%+v", n)
	}
}
