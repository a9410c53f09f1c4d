package tasks

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/seed91453169/tocsin/dbmodel"
)

// Task is an event for Tocsin, made by one of the New… functions and accepted by an Acceptor, an Outbox or a Client.
type Task struct {
	kind         taskKind
	given        []Observation // as the caller named them, for the places of faults
	observations []Observation // with distinct ids, by id: so that two calls cannot wait for each other
	id           int64         // of an observation or a product
	passed       *bool
	exception    *dbmodel.Exception
}

// taskKind says what a Task tells; the words are those of the outside.
type taskKind string

const (
	kindObservations taskKind = "observations"
	kindEvaluation   taskKind = "evaluation"
	kindSecurityGate taskKind = "security_gate"
	kindException    taskKind = "exception"
)

// NewObservations tells of the state of at most MaxObservations observations, accepted all or nothing; of several with one id
// the last one counts. The error is InvalidError.
func NewObservations(list []Observation) (*Task, error) {
	if len(list) > MaxObservations {
		return nil, InvalidError{{"observations", fmt.Sprintf("must have at most %d entries", MaxObservations)}}
	}
	var faults InvalidError
	last := make(map[int64]int, len(list))
	for i := range list {
		last[list[i].ID] = i
		for _, f := range ValidateObservation(&list[i]) {
			faults = append(faults, FieldError{place(i) + f.Field, f.Message})
		}
		if len(faults) >= maxFaults {
			break
		}
	}
	if faults != nil {
		return nil, faults
	}
	t := &Task{kind: kindObservations, given: list, observations: make([]Observation, 0, len(last))}
	for _, i := range last {
		t.observations = append(t.observations, list[i])
	}
	slices.SortFunc(t.observations, func(a, b Observation) int { return cmp.Compare(a.ID, b.ID) })
	return t, nil
}

// NewEvaluation tells that an observation shall be evaluated again, for instance after a change of settings.
func NewEvaluation(observationID int64) (*Task, error) {
	if observationID < 1 || observationID > MaxID {
		return nil, InvalidError{{"id", fmt.Sprintf("must be from 1 to %d", int64(MaxID))}}
	}
	return &Task{kind: kindEvaluation, id: observationID}, nil
}

// NewSecurityGate tells the value of a product's security gate, nil where it has none. Every change is notified, in order.
func NewSecurityGate(productID int64, passed *bool) (*Task, error) {
	if productID < 1 || productID > MaxID {
		return nil, InvalidError{{"product_id", fmt.Sprintf("must be from 1 to %d", int64(MaxID))}}
	}
	return &Task{kind: kindSecurityGate, id: productID, passed: passed}, nil
}

// maxFaults is how many faults of one call are named.
const maxFaults = 100

func place(i int) string { return fmt.Sprintf("observations[%d].", i) }

// unknownProducts names the observations whose products do not exist.
func (t *Task) unknownProducts(unknown *dbmodel.UnknownProductsError) InvalidError {
	var faults InvalidError
	for i, o := range t.given {
		if slices.Contains(unknown.IDs, o.ProductID) && len(faults) < maxFaults {
			faults = append(faults, FieldError{place(i) + "product_id", fmt.Sprintf("there is no product %d: create it first", o.ProductID)})
		}
	}
	return faults
}
