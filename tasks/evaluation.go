package tasks

import "github.com/seed91453169/tocsin/internal/accept"

// NewEvaluation asks Tocsin to evaluate an observation again, for instance after a change of settings. The error is
// InvalidError.
func NewEvaluation(observationID int64) (*Task, error) {
	return newTask(accept.NewEvaluation(observationID))
}
