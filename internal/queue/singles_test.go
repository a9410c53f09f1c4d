package queue

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestRestAfter: while single events come, an import rests half as long as it works, up to a second.
func TestRestAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := new(Queue)
		rest := func(worked time.Duration) time.Duration { return q.RestAfter(time.Now().Add(-worked)) }
		if q.SinglesCome() || rest(time.Second) != 0 {
			t.Error("an import gives way to nothing")
		}
		q.noteSingle()
		<-time.After(singlesTime - time.Millisecond)
		if short, long := rest(300*time.Millisecond), rest(5*time.Second); short != 150*time.Millisecond || long != time.Second {
			t.Errorf("it rests for %s after 300 ms, and for %s after 5 s", short, long)
		}
		<-time.After(time.Millisecond)
		if q.SinglesCome() || rest(time.Second) != 0 {
			t.Error("an import gives way to what came long ago")
		}
	})
}
