package rule

import (
	"errors"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule is a cron line in a time zone, both as they are set.
type Schedule struct {
	Line     string // minute, hour, day of the month, month, day of the week
	Timezone string // a name of the IANA database, "Europe/Berlin"; empty: UTC
}

// Slots are the moments that a Schedule names. A line that leaves the hour open, such as "*/15 * * * *", names every
// moment at which the zone's clock fits. Every other line names wall-clock times, each once: one that a clock change
// skips is made up at the first moment after the change, and one that occurs twice counts at its first occurrence.
type Slots struct {
	line      *cron.SpecSchedule
	zone      *time.Location
	everyHour bool
}

// lineParser takes the five fields, but no word like @daily: the slots of @every would differ between processes.
var lineParser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// allHours are the bits of cron.SpecSchedule.Hour that stand for all hours.
const allHours = 1<<24 - 1

// Slots reads s, or returns what is wrong with it: the fields are "schedule" and "timezone".
func (s Schedule) Slots() (Slots, []Refusal) {
	var out []Refusal
	line, err := parseLine(s.Line)
	if err != nil {
		out = append(out, Refusal{Field: "schedule", Reason: err.Error()})
	}
	zone, err := loadZone(s.Timezone)
	if err != nil {
		out = append(out, Refusal{Field: "timezone", Reason: err.Error()})
	}
	if len(out) > 0 {
		return Slots{}, out
	}
	return Slots{line: line, zone: zone, everyHour: line.Hour&allHours == allHours}, nil
}

func parseLine(text string) (*cron.SpecSchedule, error) {
	form := errors.New("must be a cron line like 0 8 * * 1-5 (minute, hour, day, month, weekday)")
	if strings.Contains(text, "TZ=") { // the parser would take a zone, and panics on some
		return nil, form
	}
	schedule, err := lineParser.Parse(text)
	if err != nil {
		return nil, form
	}
	line, ok := schedule.(*cron.SpecSchedule)
	if !ok {
		return nil, form
	}
	line.Location = time.UTC
	// Every date that exists comes within five years from here, and Next looks no further.
	if line.Next(time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, errors.New("names a time that never comes")
	}
	return line, nil
}

// loadZone loads a zone by its name, which must mean the same on every machine.
func loadZone(name string) (*time.Location, error) {
	unknown := errors.New("must be a time zone of the IANA database, like Europe/Berlin")
	switch {
	case name == "":
		return time.UTC, nil
	case name == "Local", name == "localtime", name == "posixrules", name == "Factory",
		strings.HasPrefix(name, "posix/"), strings.HasPrefix(name, "right/"):
		return nil, unknown
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, unknown
	}
	return zone, nil
}

// Next returns the first slot after t, in the zone of the schedule.
func (s Slots) Next(t time.Time) time.Time {
	if s.everyHour {
		return s.nextFitting(t)
	}
	// The search begins at the wall-clock time of t: the first moment of an earlier one is never after t, because first
	// moments come in the order of their wall-clock times.
	for wall := wallOf(t.In(s.zone)); ; {
		wall = s.nextWall(wall)
		if slot := firstMoment(wall, s.zone); slot.After(t) {
			return slot
		}
	}
}

// lookBack is longer than the longest time between two slots of a line: eight years, from one 29 February to the next
// where a century has none.
const lookBack = 9 * 366 * 24 * time.Hour

// Last returns the last slot that is not after t.
func (s Slots) Last(t time.Time) time.Time {
	// In seconds, the last slot is later than t-far and not later than t-near. Slots are at whole seconds, so once
	// far is near+1 it is the only slot between the two.
	near, far := 0, int(lookBack/time.Second)
	for near+1 < far {
		middle := near + (far-near)/2
		if s.Next(t.Add(-time.Duration(middle) * time.Second)).After(t) {
			near = middle
		} else {
			far = middle
		}
	}
	return s.Next(t.Add(-time.Duration(far) * time.Second))
}

// nextFitting returns the first moment after t at which the zone's clock fits the line.
func (s Slots) nextFitting(t time.Time) time.Time {
	for t = t.In(s.zone); ; {
		slot := momentOf(s.nextWall(wallOf(t)), t, s.zone)
		_, end := t.ZoneBounds()
		if end.IsZero() || slot.Before(end) {
			return slot
		}
		if t = end.In(s.zone); s.fits(wallOf(t)) {
			return t
		}
	}
}

func (s Slots) fits(wall time.Time) bool { return s.nextWall(wall.Add(-1)).Equal(wall) }

// nextWall returns the first wall-clock time after wall that fits the line.
func (s Slots) nextWall(wall time.Time) time.Time {
	next := s.line.Next(wall)
	for year := wall.Year() + 5; next.IsZero(); year += 5 { // one call looks five years ahead
		next = s.line.Next(time.Date(year, 1, 1, 0, 0, 0, -1, time.UTC))
	}
	return next
}

// wallOf returns the date and time that a clock shows at t, as a time in UTC, where no time is skipped or doubled.
func wallOf(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.Add(time.Duration(offset) * time.Second).UTC()
}

// momentOf returns when a clock with the offset that holds at t shows wall.
func momentOf(wall, t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return wall.Add(-time.Duration(offset) * time.Second).In(zone)
}

// firstMoment returns when the zone's clock shows wall for the first time or, where it skips wall, the first moment
// after the skipped time.
func firstMoment(wall time.Time, zone *time.Location) time.Time {
	// Whatever time.Date makes of a time that is skipped or doubled, it is in one of the two periods beside the change.
	near := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, zone)
	start, end := near.ZoneBounds()
	if !start.IsZero() {
		if before := momentOf(wall, start.Add(-1), zone); before.Before(start) {
			return before
		}
		if momentOf(wall, start, zone).Before(start) {
			return start.In(zone)
		}
	}
	if slot := momentOf(wall, near, zone); end.IsZero() || slot.Before(end) {
		return slot
	}
	return end.In(zone)
}
