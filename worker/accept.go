package worker

import (
	"context"

	"github.com/hibiken/asynq"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
)

// eventAccept handles queue.TypeEventAccept: an event that came through Redis.
func (w *Worker) eventAccept(ctx context.Context, t *asynq.Task) error {
	done, err := w.acceptor().AcceptPayload(ctx, t.Payload())
	if err == nil {
		w.logPassedOver(done)
	}
	return err
}

// acceptor accepts events and counts them.
func (w *Worker) acceptor() *accept.Acceptor {
	a := accept.New(w.DB, w.Queue)
	a.Count = w.counted.accepted
	return a
}

// logPassedOver logs that states came through Redis after younger ones were stored.
func (w *Worker) logPassedOver(done accept.Accepted) {
	if done.PassedOver > 0 {
		w.Log.Warn().Int("states", done.PassedOver).Int("of", max(done.Received, 1)).
			Msg("states that came through Redis were passed over: they are older than what is stored")
	}
}

// acceptRefused tries again to accept an event that came through Redis and was refused before.
func (w *Worker) acceptRefused(ctx context.Context, tx bun.Tx, e *dbmodel.Event, _ prepared) (decision, error) {
	done, err := accept.Again(ctx, tx, e.Payload.Task)
	if err == nil {
		w.logPassedOver(done)
		dbmodel.AfterCommit(ctx, func() { w.counted.accepted(done) })
	}
	return decision{}, err
}
