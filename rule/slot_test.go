package rule_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"github.com/google/go-cmp/cmp"
	"github.com/robfig/cron/v3"

	"github.com/seed91453169/tocsin/rule"
)

func slots(t testing.TB, line, zone string) rule.Slots {
	t.Helper()
	s, refusals := rule.Schedule{Line: line, Timezone: zone}.Slots()
	if len(refusals) > 0 {
		t.Fatalf("%s in %s: %v", line, zone, refusals)
	}
	return s
}

// between lists the slots after from and not after until.
func between(s rule.Slots, from, until time.Time) (out []time.Time) {
	for at := s.Next(from); !at.After(until); at = s.Next(at) {
		out = append(out, at)
	}
	return out
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestClockChanges goes through both changes of 2026: an hour in Berlin and New York, half an hour at Lord Howe.
func TestClockChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ zone, line, want string }{
		// 2026-03-29 02:00 +01:00 is 03:00 +02:00.
		{"Europe/Berlin", "30 2 * * *", "03-28T02:30+01 03-29T03:00+02 03-30T02:30+02"},
		{"Europe/Berlin", "0 2 * * *", "03-28T02:00+01 03-29T03:00+02 03-30T02:00+02"},
		{"Europe/Berlin", "0 3 * * *", "03-28T03:00+01 03-29T03:00+02 03-30T03:00+02"},
		{"Europe/Berlin", "0 8 * * *", "03-28T08:00+01 03-29T08:00+02 03-30T08:00+02"},
		{"Europe/Berlin", "0,30 2-3 29 3 *", "03-29T03:00+02 03-29T03:30+02"},
		{"Europe/Berlin", "15 * 29 3 *", "03-29T00:15+01 03-29T01:15+01 03-29T03:15+02 03-29T04:15+02"},
		// 2026-10-25 03:00 +02:00 is 02:00 +01:00.
		{"Europe/Berlin", "30 2 * 10 *", "10-24T02:30+02 10-25T02:30+02 10-26T02:30+01"},
		{"Europe/Berlin", "0 2 * 10 *", "10-24T02:00+02 10-25T02:00+02 10-26T02:00+01"},
		{"Europe/Berlin", "0 3 * 10 *", "10-24T03:00+02 10-25T03:00+01 10-26T03:00+01"},
		{"Europe/Berlin", "*/20 2 25 10 *", "10-25T02:00+02 10-25T02:20+02 10-25T02:40+02"},
		{"Europe/Berlin", "0 * 25 10 *", "10-25T00:00+02 10-25T01:00+02 10-25T02:00+02 10-25T02:00+01 10-25T03:00+01"},
		// 2026-03-08 02:00 -05:00 is 03:00 -04:00.
		{"America/New_York", "30 2 * 3 *", "03-07T02:30-05 03-08T03:00-04 03-09T02:30-04"},
		{"America/New_York", "59 1 * 3 *", "03-07T01:59-05 03-08T01:59-05 03-09T01:59-04"},
		// 2026-11-01 02:00 -04:00 is 01:00 -05:00.
		{"America/New_York", "30 1 * 10,11 *", "10-31T01:30-04 11-01T01:30-04 11-02T01:30-05"},
		{"America/New_York", "30 0-2 1 11 *", "11-01T00:30-04 11-01T01:30-04 11-01T02:30-05"},
		{"America/New_York", "30 * 1 11 *", "11-01T00:30-04 11-01T01:30-04 11-01T01:30-05 11-01T02:30-05"},
		// 2026-10-04 02:00 +10:30 is 02:30 +11:00.
		{"Australia/Lord_Howe", "0 2 * 10 *", "10-03T02:00+10:30 10-04T02:30+11 10-05T02:00+11"},
		{"Australia/Lord_Howe", "15 2 * 10 *", "10-03T02:15+10:30 10-04T02:30+11 10-05T02:15+11"},
		{"Australia/Lord_Howe", "30 2 * 10 *", "10-03T02:30+10:30 10-04T02:30+11 10-05T02:30+11"},
		{"Australia/Lord_Howe", "0,15,30,45 2 4 10 *", "10-04T02:30+11 10-04T02:45+11"},
		{"Australia/Lord_Howe", "45 1-3 4 10 *", "10-04T01:45+10:30 10-04T02:45+11 10-04T03:45+11"},
		// 2026-04-05 02:00 +11:00 is 01:30 +10:30.
		{"Australia/Lord_Howe", "45 1 * 4 *", "04-04T01:45+11 04-05T01:45+11 04-06T01:45+10:30"},
		{"Australia/Lord_Howe", "30 1 * 4 *", "04-04T01:30+11 04-05T01:30+11 04-06T01:30+10:30"},
		{"Australia/Lord_Howe", "0 2 * 4 *", "04-04T02:00+11 04-05T02:00+10:30 04-06T02:00+10:30"},
		{"Australia/Lord_Howe", "*/30 * 5 4 *", "04-05T00:00+11 04-05T00:30+11 04-05T01:00+11 04-05T01:30+11 04-05T01:30+10:30 04-05T02:00+10:30"},
		// Midnight is skipped: 2026-03-08 00:00 -05:00 is 01:00 -04:00.
		{"America/Havana", "0 0 * 3 *", "03-07T00:00-05 03-08T01:00-04 03-09T00:00-04"},
		{"", "30 2 * 3 *", "03-07T02:30Z 03-08T02:30Z"},
	} {
		want := strings.Fields(c.want)
		s := slots(t, c.line, c.zone)
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		day, err := time.ParseInLocation("2006-01-02", "2026-"+want[0][:5], zone)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for from := day.Add(-1); len(got) < len(want); {
			from = s.Next(from)
			got = append(got, strings.TrimSuffix(from.Format("01-02T15:04Z07:00"), ":00"))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s in %q (-want +got):\n%s", c.line, c.zone, diff)
		}
	}
}

// TestSlotsByBruteForce compares slots with a clock that is read every minute of the days around each change of 2026: a
// wall-clock time is due when the clock first shows it or a later one.
func TestSlotsByBruteForce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "America/Havana", "Antarctica/Troll",
		"Asia/Kathmandu", "Pacific/Chatham",
	} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"30 2 * * *", "0 0 * * *", "15,45 1-3 * * 0,6", "0 */6 1,4,15,29 * *", "*/20 * * * *", "50 * * * 0"} {
			for _, change := range changes(zone, at(t, "2026-01-01T00:00:00Z"), at(t, "2027-01-01T00:00:00Z")) {
				begin, end := change.Add(-36*time.Hour), change.Add(36*time.Hour)
				want, got := readClock(t, line, zone, begin, end), between(slots(t, line, name), begin, end)
				if diff := cmp.Diff(texts(want), texts(got)); diff != "" {
					t.Errorf("%s in %s (-want +got):\n%s", line, name, diff)
				}
			}
		}
	}
}

// changes are the clock changes of a zone; from itself where it has none.
func changes(zone *time.Location, from, until time.Time) (out []time.Time) {
	for change := from; ; {
		if _, change = change.In(zone).ZoneBounds(); change.IsZero() || !change.Before(until) {
			break
		}
		out = append(out, change)
	}
	if len(out) == 0 {
		return []time.Time{from}
	}
	return out
}

// readClock returns when line is due after begin and not after end.
func readClock(t *testing.T, line string, zone *time.Location, begin, end time.Time) (due []time.Time) {
	t.Helper()
	schedule, err := cron.ParseStandard(line)
	if err != nil {
		t.Fatal(err)
	}
	fits := func(wall time.Time) bool { return schedule.Next(wall.Add(-time.Second)).Equal(wall) }
	everyHour := strings.Fields(line)[1] == "*"
	from := begin.Add(-4 * time.Hour)
	shown := wall(from, zone) // the latest that the clock has shown
	for now := from; !now.After(end); now = now.Add(time.Minute) {
		w := wall(now, zone)
		is := everyHour && fits(w)
		for ; !everyHour && shown.Before(w); shown = shown.Add(time.Minute) {
			is = is || fits(shown.Add(time.Minute))
		}
		if is && now.After(begin) {
			due = append(due, now)
		}
	}
	return due
}

func wall(t time.Time, zone *time.Location) time.Time {
	t = t.In(zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
}

func texts(list []time.Time) []string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = t.UTC().Format(time.RFC3339)
	}
	return out
}

func TestLastSlot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, zone, now, want string }{
		{"0 8 * * *", "Europe/Berlin", "2026-11-28T07:00:00Z", "2026-11-28T07:00:00Z"},
		{"0 8 * * *", "Europe/Berlin", "2026-11-28T06:59:59.999999999Z", "2026-11-27T07:00:00Z"},
		{"0 8 * * *", "Europe/Berlin", "2026-11-28T07:00:00.000000001Z", "2026-11-28T07:00:00Z"},
		{"30 2 * * *", "Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-25T00:30:00Z"}, // the second 02:30
		{"* * 1 1 *", "", "2026-11-28T07:00:00Z", "2026-01-01T23:59:00Z"},
		{"0 0 29 2 *", "", "2026-11-28T07:00:00Z", "2024-02-29T00:00:00Z"},
		{"0 0 29 2 *", "", "2104-02-28T00:00:00Z", "2096-02-29T00:00:00Z"},
		{"* * * * *", "Asia/Kathmandu", "2026-11-28T07:00:30Z", "2026-11-28T07:00:00Z"},
	} {
		if got := slots(t, c.line, c.zone).Last(at(t, c.now)); !got.Equal(at(t, c.want)) {
			t.Errorf("%s in %q at %s: %s, want %s", c.line, c.zone, c.now, got, c.want)
		}
	}
	if got := slots(t, "0 0 29 2 *", "").Next(at(t, "2096-03-01T00:00:00Z")); !got.Equal(at(t, "2104-02-29T00:00:00Z")) {
		t.Errorf("after eight years: %s", got)
	}
}

func TestScheduleRefusals(t *testing.T) {
	t.Parallel()
	const (
		form  = "must be a cron line like 0 8 * * 1-5 (minute, hour, day, month, weekday)"
		never = "names a time that never comes"
		zone  = "must be a time zone of the IANA database, like Europe/Berlin"
	)
	for _, c := range []struct{ line, zone, wrongLine, wrongZone string }{
		{"0 8 * * *", "", "", ""},
		{"0 8 * * 1-5", "UTC", "", ""},
		{"  0   8 * * MON ", "America/Argentina/Ushuaia", "", ""},
		{"0 0 29 2 *", "Etc/GMT+5", "", ""},
		{"0 0 30 2 1", "", "", ""}, // or on a Monday
		{"0 0 30 2 *", "", never, ""},
		{"0 0 31 4,6,9,11 *", "", never, ""},
		{"", "", form, ""},
		{"0 8 * *", "", form, ""},
		{"0 0 8 * * *", "", form, ""},
		{"60 8 * * *", "", form, ""},
		{"0 8 * * 7", "", form, ""},
		{"@daily", "", form, ""},
		{"@every 5m", "", form, ""},
		{"TZ=UTC 0 8 * * *", "", form, ""},
		{"CRON_TZ=UTC 0 8 * * *", "", form, ""},
		{"TZ=", "", form, ""},
		{"0 8 * * *", "Local", "", zone},
		{"0 8 * * *", "Europe/Atlantis", "", zone},
		{"0 8 * * *", "europe/berlin", "", zone},
		{"0 8 * * *", "right/Europe/Berlin", "", zone},
		{"0 8 * * *", "posix/Europe/Berlin", "", zone},
		{"0 8 * * *", "../../etc/passwd", "", zone},
		{"0 8 * * *", "/etc/localtime", "", zone},
		{"0 8 * * *", "+02:00", "", zone},
		{"0 0 30 2 *", "Mars", never, zone},
	} {
		var want []rule.Refusal
		if c.wrongLine != "" {
			want = append(want, rule.Refusal{Field: "schedule", Reason: c.wrongLine})
		}
		if c.wrongZone != "" {
			want = append(want, rule.Refusal{Field: "timezone", Reason: c.wrongZone})
		}
		_, got := rule.Schedule{Line: c.line, Timezone: c.zone}.Slots()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q in %q (-want +got):\n%s", c.line, c.zone, diff)
		}
	}
}

// FuzzSlots: no line panics, and Next and Last agree at any time in any zone.
func FuzzSlots(f *testing.F) {
	zones := []string{
		"", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "Africa/Monrovia",
		"Antarctica/Troll", "Asia/Pyongyang",
	}
	for i := range zones {
		f.Add("30 2 * * *", i, int64(1774746000))
		f.Add("0 0 29 2 */2", i, int64(1325239200))
		f.Add("*/7 * 1 * 3", i, int64(-2_000_000_000))
		f.Add("TZ=x", i, int64(0))
	}
	f.Fuzz(func(t *testing.T, line string, zone int, unix int64) {
		s, refusals := rule.Schedule{Line: line, Timezone: zones[int(uint(zone)%uint(len(zones)))]}.Slots() // #nosec G115 -- an index
		if len(refusals) > 0 {
			return
		}
		now := time.Unix(unix%6_000_000_000, unix%1_000_000_000)
		next, last := s.Next(now), s.Last(now)
		if !next.After(now) || last.After(now) {
			t.Fatalf("at %s: last %s, next %s", now, last, next)
		}
		for name, pair := range map[string][2]time.Time{
			"the last at the next": {s.Last(next), next}, "the last before the next": {s.Last(next.Add(-1)), last},
			"the next of the last": {s.Next(last), next}, "the last of the last": {s.Last(last), last},
		} {
			if !pair[0].Equal(pair[1]) {
				t.Errorf("%s at %s: %s, want %s", name, now, pair[0], pair[1])
			}
		}
	})
}

// TestCronAlone shows why Slots does not ask the parser's own schedule in a zone: it skips a daily time in the gap, and
// doubles it in the overlap. Where it no longer does, Slots may be simpler.
func TestCronAlone(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	schedule, err := cron.ParseStandard("30 2 * * *")
	if err != nil {
		t.Fatal(err)
	}
	count := func(day time.Time) (n int) {
		for slot := schedule.Next(day); slot.Before(day.AddDate(0, 0, 1)); slot = schedule.Next(slot) {
			n++
		}
		return n
	}
	got := fmt.Sprint(count(time.Date(2026, 3, 29, 0, 0, 0, 0, berlin)), count(time.Date(2026, 10, 25, 0, 0, 0, 0, berlin)))
	if got != "0 2" {
		t.Errorf("slots on the days of both changes: %s", got)
	}
}
