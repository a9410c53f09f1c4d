package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/dbmodel"
)

// TestRecord waits for a database that is away as long as that takes, and gives up one that is there and refuses.
func TestRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := New(Config{Log: zerolog.Nop()})
		tries := 0
		err := w.record("it is away", func(context.Context) error {
			if tries++; tries < 100 {
				return fmt.Errorf("try %d: %w", tries, dbmodel.ErrUnavailable)
			}
			return nil
		})
		if err != nil || tries != 100 {
			t.Errorf("away: %d tries, %v", tries, err)
		}
		refused := errors.New("it will never be taken")
		tries = 0
		err = w.record("it refuses", func(context.Context) error { tries++; return refused })
		if !errors.Is(err, refused) || tries != refusals {
			t.Errorf("refused: %d tries, %v", tries, err)
		}
		w.end()
		tries = 0
		err = w.record("it must end", func(ctx context.Context) error { tries++; return dbmodel.Translate(ctx.Err()) })
		if !errors.Is(err, dbmodel.ErrUnavailable) || tries != 1 {
			t.Errorf("at the end: %d tries, %v", tries, err)
		}
	})
}
