package worker

import (
	"math/rand/v2"
	"time"

	"github.com/seed91453169/tocsin/channel"
)

// Bounds of a target's back-off.
const (
	firstBackOff = 2 * time.Second
	mostBackOff  = 10 * time.Minute
)

// backOff is how long a target rests after so many failures in a row, give or take a quarter, so that targets which failed
// together are not tried together.
func backOff(failures int) time.Duration {
	d := mostBackOff
	if failures < 10 {
		d = min(firstBackOff<<failures, mostBackOff)
	}
	return time.Duration(float64(d) * (0.75 + rand.Float64()/2)) // #nosec G404 -- nobody gains by guessing it
}

// log says what became of a message that was not taken. Nothing of the address is in it.
func (d *drain) log(result *channel.Error, text string) {
	d.w.Log.Warn().Int64("target", d.target.ID).Str("channel", string(d.target.Channel)).Str("reason", result.Reason).AnErr("cause", result.Err).Msg(text)
}
