package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// SecObserve is a SecObserve that Tocsin follows. What comes from there is changed there alone, as far as it is taken.
type SecObserve struct {
	URL string

	Contacts, Conditions, Members, Settings bool // whether these are taken
}

// elsewhere answers 409 where something that comes from SecObserve would be changed here. path leads to it there;
// empty: none does.
func (s *server) elsewhere(ctx context.Context, db bun.IDB, what, path string) error {
	state, err := dbmodel.LoadSecObserve(ctx, db)
	if err != nil {
		return fmt.Errorf("load the state of the connector: %w", err)
	}
	place := s.secObserve.URL
	if state.Frontend != "" {
		place = state.Frontend + path
	}
	return newProblem(http.StatusConflict, what+" from SecObserve: change it there, at "+place+".")
}

// notTaken answers 409 where a product or a product group comes from SecObserve.
func (s *server) notTaken(ctx context.Context, db bun.IDB, holder rule.Holder, what string) error {
	if s.secObserve == nil {
		return nil
	}
	taken, err := dbmodel.FromSecObserve(ctx, db, holder)
	if err != nil {
		return fmt.Errorf("ask whether %s %d comes from SecObserve: %w", holder.Kind, holder.ID, err)
	}
	if !taken {
		return nil
	}
	return s.elsewhere(ctx, db, what, takenPath(holder))
}

// takenPath is where the pages of SecObserve show a product or a product group.
func takenPath(holder rule.Holder) string {
	if holder.Kind == rule.HolderGroup {
		return fmt.Sprintf("/#/product_groups/%d/show", holder.ID)
	}
	return fmt.Sprintf("/#/products/%d/show", holder.ID)
}

// holderChange is a change of a product or a product group.
type holderChange struct {
	holder        rule.Holder
	structure     bool // the name or the group would change
	before, after *dbmodel.NotificationSettings
	contacts      []*contactChange
}

// keepsTaken answers 409 where a change touches what is taken from SecObserve.
func (s *server) keepsTaken(ctx context.Context, tx bun.Tx, c holderChange) error {
	if s.secObserve == nil {
		return nil
	}
	conditions := s.secObserve.Conditions && (c.before.MinSeverity != c.after.MinSeverity ||
		!slices.Equal(c.before.Statuses, c.after.Statuses) || !equal(c.before.MinPriority, c.after.MinPriority))
	contacts := false
	if s.secObserve.Contacts {
		var err error
		if contacts, err = changesContacts(ctx, tx, c.contacts); err != nil {
			return err
		}
	}
	switch {
	case c.structure:
		return s.notTaken(ctx, tx, c.holder, "The name and the product group come")
	case conditions:
		return s.notTaken(ctx, tx, c.holder, "The conditions come")
	case contacts:
		return s.notTaken(ctx, tx, c.holder, "The contacts come")
	}
	return nil
}

// changesContacts reports whether contacts that were sent differ from those that are stored.
func changesContacts(ctx context.Context, tx bun.Tx, changes []*contactChange) (bool, error) {
	for _, c := range changes {
		if c.same {
			continue
		}
		stored, err := dbmodel.ContactsOf(ctx, tx, c.holder)
		if err != nil {
			return false, fmt.Errorf("load contacts: %w", err)
		}
		same := func(a, b rule.Contact) bool { return a.Target == b.Target }
		if !slices.EqualFunc(stored[c.holder][c.channel], c.contacts, same) {
			return true, nil
		}
	}
	return false, nil
}

// takenSettingsPath is where the pages of SecObserve show its settings.
const takenSettingsPath = "/#/settings/1/show"

// keepsTakenSettings answers 409 where a change of the settings touches what is taken from SecObserve.
func (s *server) keepsTakenSettings(
	ctx context.Context, tx bun.Tx, before, after *dbmodel.Settings, contacts []*contactChange,
) error {
	if s.secObserve == nil || !s.secObserve.Settings {
		return nil
	}
	state, err := dbmodel.LoadSecObserve(ctx, tx)
	if err != nil {
		return fmt.Errorf("load the state of the connector: %w", err)
	}
	if state.Settings == "" { // none was read yet
		return nil
	}
	a, b := before, after
	changed := a.ExceptionRateLimit != b.ExceptionRateLimit
	if s.secObserve.Conditions {
		changed = changed || a.TitleMinSeverity != b.TitleMinSeverity || !slices.Equal(a.TitleStatuses, b.TitleStatuses) ||
			!equal(a.TitleMinPriority, b.TitleMinPriority) || a.TitleParserType != b.TitleParserType
	}
	if s.secObserve.Contacts {
		differ, err := changesContacts(ctx, tx, contacts)
		if err != nil {
			return err
		}
		changed = changed || differ || state.Sender != "" && a.EmailFrom != b.EmailFrom
	}
	if !changed {
		return nil
	}
	return s.elsewhere(ctx, tx, "These settings come", takenSettingsPath)
}

// loadTakenSettings makes read-only, on the page of the settings, what is taken from SecObserve.
func (s *server) loadTakenSettings(ctx context.Context, p *settingsPageView) error {
	if s.secObserve == nil || !s.secObserve.Settings {
		return nil
	}
	state, err := dbmodel.LoadSecObserve(ctx, s.db.Reader)
	if err != nil {
		return fmt.Errorf("load the state of the connector: %w", err)
	}
	if state.Settings == "" { // none was read yet
		return nil
	}
	p.Taken = s.secObserve.URL
	if state.Frontend != "" {
		p.Taken = state.Frontend + takenSettingsPath
	}
	taken := map[string]bool{"exception_rate_limit": true, "email_from": s.secObserve.Contacts && state.Sender != ""}
	for _, name := range []string{"min_severity", "statuses", "min_priority", "parser_type"} {
		taken[titlePrefix+name] = s.secObserve.Conditions
	}
	for _, c := range rule.SettingChannels {
		for _, prefix := range []string{titlePrefix, exceptionPrefix} {
			taken[prefix+c.Info().Setting] = s.secObserve.Contacts
		}
	}
	for i := range p.Sections {
		for j := range p.Sections[i].Fields {
			f := &p.Sections[i].Fields[j]
			f.ReadOnly = taken[f.Name]
		}
	}
	return nil
}

// keepsTakenObservations answers 409 where one of the products comes from SecObserve: its observations do, too.
func (s *server) keepsTakenObservations(ctx context.Context, db bun.IDB, list []dbmodel.Observation) error {
	if s.secObserve == nil {
		return nil
	}
	ids := make([]int64, len(list))
	for i := range list {
		ids[i] = list[i].ProductID
	}
	slices.Sort(ids)
	taken, err := dbmodel.AnyFromSecObserve(ctx, db, slices.Compact(ids))
	if err != nil {
		return fmt.Errorf("ask whether products come from SecObserve: %w", err)
	}
	if !taken {
		return nil
	}
	return s.elsewhere(ctx, db, "Observations of these products come", "/#/observations")
}

// keepsTakenUser answers 409 where a user comes from SecObserve.
func (s *server) keepsTakenUser(ctx context.Context, db bun.IDB, userID int64) error {
	if s.secObserve == nil {
		return nil
	}
	taken, err := dbmodel.UserFromSecObserve(ctx, db, userID)
	if err != nil {
		return fmt.Errorf("ask whether user %d comes from SecObserve: %w", userID, err)
	}
	if !taken {
		return nil
	}
	return s.elsewhere(ctx, db, "The user comes", "/#/users")
}

// loadTaken makes read-only, on the page of a product or a product group, what is taken from SecObserve.
func (s *server) loadTaken(ctx context.Context, p *holderPage) (err error) {
	holder := productHolder(p.ID)
	if p.IsGroup {
		holder = groupHolder(p.ID)
	}
	if p.Taken, err = s.takenNotice(ctx, holder); err != nil || p.Taken == "" {
		return err
	}
	p.MayManage = p.MayManage && !s.secObserve.Members
	contacts := map[string]bool{}
	for _, c := range rule.SettingChannels {
		contacts["notification_"+c.Info().Setting] = true
	}
	for i := range p.Fields {
		f := &p.Fields[i]
		taken := s.secObserve.Conditions && slices.Contains(takenConditions, f.Name) ||
			s.secObserve.Contacts && contacts[f.Name]
		f.ReadOnly = f.ReadOnly || taken
	}
	return nil
}

// takenConditions are the settings of conditions that SecObserve has, too.
var takenConditions = []string{
	"observation_notification_min_severity", "observation_notification_statuses", "observation_notification_min_priority",
}

// takenNotice says on the page of a product or a product group that it comes from SecObserve, with a link; both are
// empty where it does not.
func (s *server) takenNotice(ctx context.Context, holder rule.Holder) (link string, err error) {
	if s.secObserve == nil {
		return "", nil
	}
	taken, err := dbmodel.FromSecObserve(ctx, s.db.Reader, holder)
	if err != nil || !taken {
		return "", err
	}
	state, err := dbmodel.LoadSecObserve(ctx, s.db.Reader)
	if err != nil || state.Frontend == "" {
		return s.secObserve.URL, err
	}
	return state.Frontend + takenPath(holder), nil
}
