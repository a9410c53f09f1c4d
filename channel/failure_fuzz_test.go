package channel

import (
	"strings"
	"testing"
	"time"
)

// FuzzRetryAfter: whatever a receiver asks for, it is granted from nothing to a day, and nothing else.
func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "17", " 90 ", "-5", "99999999999", strings.Repeat("9", 40), "soon", "1e3", "Wed, 21 Oct 2015 07:28:00 GMT", "Fri, 01 Jan 9999 00:00:00 GMT"} {
		f.Add(seed, int64(1_772_366_400))
	}
	f.Fuzz(func(t *testing.T, value string, now int64) {
		if d := ParseRetryAfter(value, time.Unix(now, 0)); d < 0 || d > MaxRetryAfter {
			t.Errorf("%q at %d: %v", value, now, d)
		}
	})
}
