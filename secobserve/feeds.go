package secobserve

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
)

// approvedWithEdits is the state of an assessment that was edited and approved in one step; older versions do not have
// it.
const approvedWithEdits = "Approved with edits"

// approvedStates are the states of approved assessments that SecObserve knows.
func (p *pass) approvedStates() []string {
	if p.edits {
		return []string{"Approved", approvedWithEdits}
	}
	return []string{"Approved"}
}

// approvals reads the observations of assessments that were approved: no stamp of theirs moves.
func (p *pass) approvals(ctx context.Context) error {
	var after time.Time
	if p.state.Approvals != nil {
		after = p.state.Approvals.Add(-overlap)
	}
	var rows []observation
	last := p.state.Approvals
	for _, state := range p.approvedStates() {
		logs, _, found, err := newest(ctx, p, "observation_logs/", url.Values{"assessment_status": {state}},
			"-approval_date", p.sizes.approval, after, func(a *approval) time.Time { return a.Approved.V })
		if err != nil {
			return err
		}
		if !found { // too many: all observations are read, from the first one
			if err := p.skipApprovals(ctx); err != nil {
				return err
			}
			return p.readAllAnew(ctx)
		}
		for i := range logs {
			rows = append(rows, logs[i].Observation.V)
			if at := logs[i].Approved.V; last == nil || at.After(*last) {
				last = &at
			}
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return p.commit(ctx, "approved assessments", func(ctx context.Context, tx bun.Tx) error {
		if err := p.store(ctx, tx, rows); err != nil {
			return err
		}
		p.state.Approvals = last
		return dbmodel.SaveSecObserve(ctx, tx, p.state)
	})
}

// skipApprovals has the approvals read that follow the newest one.
func (p *pass) skipApprovals(ctx context.Context) error {
	for _, state := range p.approvedStates() {
		q := url.Values{"assessment_status": {state}, "ordering": {"-approval_date"}}
		rows, _, err := page[approval](ctx, p.Client, "observation_logs/", q, 1, 1)
		if err != nil {
			return err
		}
		if len(rows) > 0 && (p.state.Approvals == nil || rows[0].Approved.V.After(*p.state.Approvals)) {
			p.state.Approvals = &rows[0].Approved.V
		}
	}
	return nil
}

// today reads what changed today, once in a while: uploads that took longer than the overlap show late.
func (p *pass) today(ctx context.Context) error {
	if at := p.state.TodayRead; at != nil && p.began.Sub(*at) < todayEvery && !p.began.Before(*at) {
		return nil
	}
	pages := max(1, mostToday/p.sizes.all)
	if _, _, err := p.readAll(ctx, url.Values{"age": {"Today"}}, 0, pages, nothingElse); err != nil {
		return err
	}
	p.state.TodayRead = &p.began
	return p.saveState(ctx)
}

// everything reads all observations once a day, some pages in each pass: much changes there without moving a stamp.
func (p *pass) everything(ctx context.Context) error {
	y, m, d := p.began.UTC().Date()
	due := time.Date(y, m, d, dailyHour, 0, 0, 0, time.UTC)
	if p.began.Before(due) {
		due = due.AddDate(0, 0, -1)
	}
	if p.state.ReadTo == nil {
		if p.state.ReadBegan != nil && !p.state.ReadBegan.Before(due) {
			return nil
		}
		p.state.ReadTo, p.state.ReadBegan = new(int64(0)), &p.began
	}
	whole, ids, err := p.readAll(ctx, nil, *p.state.ReadTo, p.sizes.slice, p.saveReadTo)
	if err != nil || !whole {
		return err
	}
	if len(ids) == 0 { // an answer that is empty ends no reading
		stored, err := dbmodel.CountSecObserveObservations(ctx, p.DB)
		if err != nil {
			return fmt.Errorf("count the observations of SecObserve: %w", err)
		}
		if stored > 0 && !p.options.ConfirmDeletions {
			if !p.privileged {
				return nil
			}
			return &Error{Kind: Incomplete, Path: "observation_titles/", detail: "there is no observation any more; " +
				"if that is right, run \"tocsin secobserve sync --confirm-deletions\""}
		}
	}
	p.state.ReadTo = nil
	if err := p.compareAll(ctx, ids); err != nil {
		return err
	}
	return p.saveState(ctx)
}

// readAllAnew has all observations read from the first one on, also where a reading is under way.
func (p *pass) readAllAnew(ctx context.Context) error {
	p.state.ReadTo, p.state.ReadBegan = new(int64(0)), &p.began
	return p.saveState(ctx)
}
