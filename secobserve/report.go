package secobserve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
)

const (
	// patience is how many passes in a row may fail for want of an answer before that is reported.
	patience = 3
	// namedRefusals is how many refused items a report names in its message; its trace names up to listedRefusals.
	namedRefusals, listedRefusals = 5, 200
)

// report accepts the event that reports a problem to administrators, in the transaction of the caller. It is notified
// each time: the callers report a problem once.
func (c *Connector) report(
	ctx context.Context, tx bun.Tx, class, message, trace string,
) ([]dbmodel.QueueableEvent, error) {
	event, err := accept.NewOwnFailure(accept.ExceptionInfo{
		Class: class, Function: dbmodel.PeriodicSecObserve, Message: message, Trace: trace,
	})
	if err != nil {
		return nil, err
	}
	done, err := c.accept(ctx, tx, event.NeverSuppressed())
	return done.Rows, err
}

// conclude reports what is new among problems and refusals, and stores that the pass did not fail.
func (p *pass) conclude(ctx context.Context) error {
	before := splitList(p.state.Problems)
	// What was held stays so until all is compared again.
	if held := heldClass("observations"); !p.compared && p.problems[held] == "" && slices.Contains(before, held) {
		p.problems[held] = "still"
	}
	state := *p.state
	state.Problems, state.Failures = strings.Join(slices.Sorted(maps.Keys(p.problems)), ","), 0
	if p.compared {
		stored, err := dbmodel.CountSecObserveObservations(ctx, p.DB)
		if err != nil {
			return fmt.Errorf("count the observations of SecObserve: %w", err)
		}
		state.Gap = int64(p.listed) - stored
	}
	if state == *p.state && len(p.fresh) == 0 {
		return nil
	}
	return p.commit(ctx, "the end of the pass", func(ctx context.Context, tx bun.Tx) error {
		for _, class := range slices.Sorted(maps.Keys(p.problems)) {
			if slices.Contains(before, class) {
				continue
			}
			events, err := p.report(ctx, tx, class, p.problems[class], "")
			if err != nil {
				return err
			}
			p.events = append(p.events, events...)
		}
		if len(p.fresh) > 0 {
			message, trace := refusalsInWords(p.fresh)
			events, err := p.report(ctx, tx, "SecObserveRefused", message, trace)
			if err != nil {
				return err
			}
			p.events = append(p.events, events...)
		}
		return dbmodel.SaveSecObserve(ctx, tx, &state)
	})
}

// refusalsInWords names what was refused.
func refusalsInWords(list []dbmodel.SecObserveRefusal) (message, trace string) {
	lines := make([]string, len(list))
	for i, r := range list {
		lines[i] = fmt.Sprintf("%s %d %q: %s", r.Kind, r.ID, r.Name, r.Reason)
	}
	message = fmt.Sprintf("Tocsin refuses %d of the items that SecObserve has, and takes all others: %s",
		len(list), strings.Join(lines[:min(len(lines), namedRefusals)], "\n"))
	if more := len(list) - namedRefusals; more > 0 {
		message += fmt.Sprintf("\nand %d more", more)
	}
	return message, strings.Join(lines[:min(len(lines), listedRefusals)], "\n")
}

// consequence is what follows from a pass that failed.
const consequence = ". Until a pass succeeds, not all that changes in SecObserve is known here; it follows then"

// failed counts a pass that failed, and reports why, once until a pass succeeds. Where no answer came it waits for
// some passes more.
func (p *pass) failed(ctx context.Context, err error) error {
	class := "SecObserveFault"
	if e, ok := errors.AsType[*Error](err); ok {
		class = "SecObserve" + string(e.Kind)
	}
	state, errLoad := dbmodel.LoadSecObserve(ctx, p.DB)
	if errLoad != nil {
		return fmt.Errorf("load the state of the connector: %w", errLoad)
	}
	state.Failures++
	problems := splitList(state.Problems)
	reports := !slices.Contains(problems, class) && (!isTemporary(err) || state.Failures >= patience)
	if reports {
		state.Problems = strings.Join(append(problems, class), ",")
	}
	return p.commit(ctx, "that the pass failed", func(ctx context.Context, tx bun.Tx) error {
		if err := dbmodel.SaveSecObserve(ctx, tx, state); err != nil || !reports {
			return err
		}
		events, errReport := p.report(ctx, tx, class, err.Error()+consequence, "")
		p.events = append(p.events, events...)
		return errReport
	})
}
