package web

import (
	"context"
	"fmt"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
)

type periodicRunAnswer struct {
	ID         int64      `json:"id"`
	Task       string     `json:"task"`
	Slot       time.Time  `json:"slot" doc:"When the cron line asked for it"`
	StartedAt  *time.Time `json:"started_at"`
	DurationMS *int64     `json:"duration_ms"`
	Status     runStatus  `json:"status"`
	Message    string     `json:"message"`
}

func (s *server) apiListPeriodicTasks(ctx context.Context, in *ListParams) (*listOutput[periodicRunAnswer], error) {
	before, err := idCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	runs, err := dbmodel.PeriodicRuns(ctx, s.db.Reader, before, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list the runs of periodic tasks: %w", err)
	}
	return pageOf(runs, in.Limit, showRun, func(r *dbmodel.PeriodicRun) string { return idCursorOf(r.ID) }), nil
}

func showRun(r *dbmodel.PeriodicRun) periodicRunAnswer {
	out := periodicRunAnswer{
		ID: r.ID, Task: r.Task, Slot: r.Slot.UTC(), StartedAt: utc(r.StartedAt), Status: runStatus(r.Status),
		Message: r.Message,
	}
	if r.Duration != nil {
		out.DurationMS = new(r.Duration.Milliseconds())
	}
	return out
}
