package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
)

// panicked is a panic as an error.
type panicked struct{ value any }

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// catch calls do and returns its error; a panic is an error like others, and is logged with its stack. name says in the
// log where it came from.
func (w *Worker) catch(name string, do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.Log.Error().Bytes("stack", debug.Stack()).Msgf("%s: panic: %v", name, p)
			err = &panicked{p}
		}
	}()
	return do()
}

// classOf is the class of the exception by which a failure is reported.
func classOf(err error) string {
	if _, ok := errors.AsType[*panicked](err); ok {
		return "Panic"
	}
	return "TaskFailed"
}

// reportOwn reports a failure of Tocsin itself, within the transaction that records it.
func (w *Worker) reportOwn(ctx context.Context, tx bun.Tx, x accept.ExceptionInfo) error {
	event, err := accept.NewOwnFailure(x)
	if err != nil {
		return err
	}
	return w.acceptOwn(ctx, tx, event)
}

// reportEach is reportOwn for a failure that is never suppressed, however many equal ones there are.
func (w *Worker) reportEach(ctx context.Context, tx bun.Tx, x accept.ExceptionInfo) error {
	event, err := accept.NewOwnFailure(x)
	if err != nil {
		return err
	}
	return w.acceptOwn(ctx, tx, event.NeverSuppressed())
}

// acceptOwn accepts an event of Tocsin itself, and counts it once the transaction is committed.
func (w *Worker) acceptOwn(ctx context.Context, tx bun.Tx, event *accept.Event) error {
	done, err := accept.InTx(ctx, tx, event)
	dbmodel.AfterCommit(ctx, func() { w.counted.accepted(done) })
	return err
}
