package scheduler

import (
	"strings"
	"testing"
	"time"

	"github.com/robfig/cron/v3"
)

// FuzzDueSlot: of any line that the settings take, the slot that is due lies behind the last one and not in the future,
// and there is none left behind it.
func FuzzDueSlot(f *testing.F) {
	for _, line := range []string{"0 3 * * *", "* * * * *", "@every 1s", "@every 90m", "@monthly", "0 0 29 2 *", "*/7 */5 1-31/2 * SUN", "0 0 31 4 *", "59 23 31 12 6"} {
		f.Add(line, int64(1_772_366_400), int64(86_400))
		f.Add(line, int64(1_700_000_000), int64(-5))
	}
	f.Fuzz(func(t *testing.T, line string, last, since int64) {
		if strings.Contains(line, "TZ=") { // refused before it is stored
			return
		}
		schedule, err := cron.ParseStandard(line)
		if err != nil {
			return
		}
		const year = 366 * 24 * 60 * 60
		from := time.Unix(1_700_000_000+last%(10*year), 0).UTC()
		now := from.Add(time.Duration(since%(5*year)) * time.Second)
		slot := dueSlot(schedule, from, now)
		if slot.IsZero() {
			return
		}
		if !slot.After(from) || slot.After(now) {
			t.Errorf("%q after %v at %v: %v", line, from, now, slot)
		}
		if next := schedule.Next(slot); !next.IsZero() && !next.After(now) {
			t.Errorf("%q after %v at %v: %v, but %v is due as well", line, from, now, slot, next)
		}
	})
}
