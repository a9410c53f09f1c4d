package worker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/rule"
)

// drainTime is how long a drain goes on before it makes way for others. A drain waits while its target rests for that
// long at most; where the rest is longer, the drain ends, and the sweep finds the target after the rest.
const drainTime = 5 * time.Second

// targetDrain handles queue.TypeTargetDrain: it delivers to one target, in order, all that waits for it.
func (w *Worker) targetDrain(ctx context.Context, t *asynq.Task) error {
	var p queue.DrainTask
	if err := json.Unmarshal(t.Payload(), &p); err != nil {
		return fmt.Errorf("read the payload of %s: %w", t.Type(), err)
	}
	from, _ := asynq.GetQueueName(ctx)
	bulk := from == queue.BulkDrains
	turn, err := w.turns.begin(ctx, bulk)
	if err != nil {
		return nil // the task ended before it had looked at its target, which stays due
	}
	defer turn.give()
	owner, renewed := rand.Text(), time.Now()
	lease, err := dbmodel.TakeTarget(ctx, w.DB, p.TargetID, owner)
	switch {
	case errors.Is(err, dbmodel.ErrNotFound):
		w.unpoke(ctx, p.TargetID)
		return nil // not due: the sweep comes back to it
	case err != nil:
		return fmt.Errorf("lease target %d: %w", p.TargetID, err)
	case !lease.Mine:
		// The holder of the lease has been asked to look again, and lets pokes through before it does.
		return nil
	}
	leave, entered := w.enter(laneOf(&lease.Target, bulk), turn)
	// The sweep comes back to a target that got no place. A target that does not fail stays due, so that the poke of a
	// single event may find a place for it sooner.
	if !entered {
		w.unpoke(ctx, p.TargetID)
		if lease.FailingSince == nil {
			err = dbmodel.YieldTarget(ctx, w.DB, p.TargetID, owner)
		} else {
			_, err = dbmodel.ReleaseTarget(ctx, w.DB, p.TargetID, owner, crowdedRest())
		}
		if err != nil {
			return fmt.Errorf("give target %d back: %w", p.TargetID, err)
		}
		return nil
	}
	defer leave()
	err = (&drain{w: w, target: &lease.Target, owner: owner, renewed: renewed, bulk: bulk, turn: turn}).safely(ctx)
	if err != nil && !errors.Is(err, dbmodel.ErrUnavailable) {
		return errors.Join(err, w.record("a target rests after a fault", func(ctx context.Context) error {
			return w.restTarget(ctx, p.TargetID, err)
		}))
	}
	return err
}

// unpoke lets the next poke of a target through. A drain calls it before it looks for deliveries, so that the poke of
// a delivery that is stored after that look gets through.
func (w *Worker) unpoke(ctx context.Context, id int64) {
	if err := w.Queue.Unpoke(ctx, id); err != nil {
		w.Log.Debug().Err(err).Int64("target", id).Msg("a poke stays until it ends by itself")
	}
}

// faultRest is how long a target rests after a fault of our own, which the next try will meet again.
const faultRest = time.Minute

// restTarget has a target rest after a fault of our own, and reports the fault.
func (w *Worker) restTarget(ctx context.Context, id int64, fault error) error {
	return w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := dbmodel.RestTarget(ctx, tx, id, faultRest); err != nil {
			return err
		}
		return w.reportOwn(ctx, tx, accept.ExceptionInfo{
			Class: classOf(fault), Function: queue.TypeTargetDrain,
			Message: "the deliveries to a target could not be processed: they are tried again every minute",
			Trace:   fmt.Sprintf("target %d: %v", id, fault),
		})
	})
}

// drain delivers to one target, while it holds its lease.
type drain struct {
	w           *Worker
	target      *dbmodel.Target
	owner       string
	leased      context.Context // ends with the worker, or once another worker has the lease
	turn        *turn           // at the database
	bulk        bool            // an import may bring more, and no single event has something for the target
	settings    *dbmodel.Settings
	renewed     time.Time // when the lease was taken, or renewed between messages
	ahead       int       // how many single deliveries are read at once
	batchSize   int       // how many notifications the receiver of a signed webhook takes at once; 0: not known
	address     string    // of the target; empty: the key that sealed it is lost
	firstName   string    // of the user with this email address; empty where there is none
	name        string    // of the target, as a person knows it; empty: not read yet
	sinceRest   int       // deliveries since the target last rested because much was sent, see restTime
	afterDigest bool      // the last message was a digest
	taken       bool      // the receiver has taken a single delivery
	gathered    bool      // it has waited for more to come before the next message

	parents []string        // places in the traces of the notifications of the next message, see addTrace
	trace   context.Context // with the span of the last message; nil: it has none
}

// nextStep says how a drain goes on after a message.
type nextStep int

const (
	goOn         nextStep = iota // look for the next one
	nothingWaits                 // give the lease back, unless something has come meanwhile
	stop                         // the lease is lost, or the target failed and rests: nothing more to do here
)

// safely calls run. Where run panics, safely gives the lease back and returns an error.
func (d *drain) safely(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			fault := d.recovered(p)
			d.turn.take()
			err = d.yield(fault)
		}
	}()
	return d.run(ctx)
}

// recovered logs a panic that was recovered just now, and returns it as an error.
func (d *drain) recovered(p any) error {
	p = harmless(p)
	d.w.Log.Error().Int64("target", d.target.ID).Bytes("stack", debug.Stack()).Msgf("panic: %v", p)
	return &panicked{p}
}

// harmless describes the value of a panic without the secrets of a target that it may hold, such as its address.
func harmless(p any) any {
	if err, ok := p.(runtime.Error); ok { // "index out of range [3] with length 3"
		return err
	}
	return fmt.Sprintf("a %T", p)
}

func (d *drain) run(ctx context.Context) error {
	w, id := d.w, d.target.ID
	leased, release := w.leases.hold(w.ended, dbmodel.HeldLease{TargetID: id, Owner: d.owner})
	defer release()
	d.leased = leased
	var unpoked sync.WaitGroup
	unpoked.Go(func() { w.unpoke(ctx, id) })
	var err error
	d.settings, err = dbmodel.LoadSettings(ctx, w.DB)
	unpoked.Wait()
	if err != nil {
		return d.yield(fmt.Errorf("load settings: %w", err))
	}
	if d.address, err = w.Vault.OpenAddress(d.target.Channel, d.target.Address); err != nil {
		w.Log.Error().Err(err).Int64("target", id).Msg("the address of a target cannot be read")
	} else if d.target.Channel == rule.Email {
		fullName, err := dbmodel.FullNameOf(ctx, w.DB, d.address)
		if err != nil {
			return d.yield(fmt.Errorf("find the user with the address of target %d: %w", id, err))
		}
		d.firstName = firstName(fullName)
	}
	drainBegan := time.Now()
	for {
		if w.isStopping() {
			return d.yield(nil)
		}
		began := time.Now()
		next, err := d.deliver(ctx)
		switch {
		case err != nil:
			return d.yield(err)
		case next == stop:
			return nil
		case next == nothingWaits:
			released, err := dbmodel.ReleaseTarget(ctx, w.DB, id, d.owner, 0)
			if err != nil {
				return d.yield(err)
			}
			if released {
				return nil
			}
			w.unpoke(ctx, id)
			continue
		}
		if least, most := d.restTime(time.Since(began)); most > drainTime {
			if _, err := dbmodel.ReleaseTarget(ctx, w.DB, id, d.owner, most); err != nil {
				return d.yield(err)
			}
			return nil
		} else if most > 0 && !d.wait(ctx, least, most) {
			return d.yield(nil)
		}
		if time.Since(drainBegan) > drainTime {
			return d.makeWay(ctx)
		}
	}
}

// makeWay ends a drain that has used its time: another drain of the target goes on, behind those that wait for a slot.
func (d *drain) makeWay(ctx context.Context) error {
	w, id := d.w, d.target.ID
	err := d.yield(nil)
	w.unpoke(ctx, id)
	w.Queue.PokeAgain(ctx, id, d.bulk)
	return err
}

// yield gives the lease back although something may be left to do; the sweep or the next poke starts another drain. It
// returns err, joined with the error of giving the lease back.
func (d *drain) yield(err error) error {
	w, id := d.w, d.target.ID
	return errors.Join(err, w.record("give a target back", func(ctx context.Context) error {
		return dbmodel.YieldTarget(ctx, w.DB, id, d.owner)
	}))
}
