package web

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// memberSight says which types of notifications members see, and which they do not.
func (s *server) memberSight(ctx context.Context) (string, error) {
	settings, err := dbmodel.LoadSettings(ctx, s.db.Reader)
	if err != nil {
		return "", fmt.Errorf("load the settings: %w", err)
	}
	return memberSightWords(settings.MemberNotificationTypes), nil
}

func memberSightWords(seen []rule.Type) string {
	var yes, no []string
	for _, t := range rule.MemberTypes {
		if slices.Contains(seen, t) {
			yes = append(yes, strings.ToLower(t.Info().Plural))
		} else {
			no = append(no, strings.ToLower(t.Info().Plural))
		}
	}
	text := "Members see no notifications here"
	if yes != nil {
		text = "Of notifications, members see " + strings.Join(yes, " and ") + " here"
		if no != nil {
			text += ", but no " + strings.Join(no, " and no ")
		}
	}
	return text + ": administrators choose the types in the settings."
}
