package worker

import (
	"math/rand/v2"
	"time"
)

// Bounds of a target's back-off.
const (
	firstBackOff = 2 * time.Second
	mostBackOff  = 10 * time.Minute
)

// backOffTime returns how long a target rests after so many failures in a row, give or take a quarter: targets that
// failed together are not tried together.
func backOffTime(failures int) time.Duration {
	d := mostBackOff
	if failures < 10 {
		d = min(firstBackOff<<failures, mostBackOff)
	}
	return time.Duration(float64(d) * (0.75 + rand.Float64()/2)) // #nosec G404 -- nobody gains by guessing it
}

// crowdedRest returns how long a target rests where its lane is full: about as long as the sweep needs to find it
// again.
func crowdedRest() time.Duration {
	return time.Second/2 + rand.N(time.Second/2) // #nosec G404 -- nobody gains by guessing it
}
