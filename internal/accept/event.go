package accept

import (
	"fmt"

	"github.com/seed91453169/tocsin/dbmodel"
)

// MaxID is the largest id of a product, a product group or an observation: JSON numbers are exact up to it.
const MaxID = 1<<53 - 1

// Event is something that was reported to Tocsin, valid as one of the New functions made it.
type Event struct {
	kind         kind
	given        []dbmodel.Observation // as the caller gave them, for the places of faults
	observations []dbmodel.Observation // with distinct ids, by id: so that two calls cannot wait for each other
	id           int64                 // of an observation or a product
	passed       *bool
	exception    *dbmodel.Exception
}

// kind is what an Event reports; the words are those of its form in Redis.
type kind string

const (
	kindObservations kind = "observations"
	kindEvaluation   kind = "evaluation"
	kindSecurityGate kind = "security_gate"
	kindException    kind = "exception"
)

// NewEvaluation asks to evaluate an observation again, for instance after a change of settings.
func NewEvaluation(observationID int64) (*Event, error) {
	if err := checkID("id", observationID); err != nil {
		return nil, err
	}
	return &Event{kind: kindEvaluation, id: observationID}, nil
}

// NewSecurityGate reports the value of a product's security gate, nil where it has none.
func NewSecurityGate(productID int64, passed *bool) (*Event, error) {
	if err := checkID("product_id", productID); err != nil {
		return nil, err
	}
	return &Event{kind: kindSecurityGate, id: productID, passed: passed}, nil
}

func checkID(field string, id int64) error {
	if id < 1 || id > MaxID {
		return InvalidError{{field, fmt.Sprintf("must be from 1 to %d", int64(MaxID))}}
	}
	return nil
}

// Bulk reports whether the event is part of an import: single events are evaluated before it.
func (e *Event) Bulk() bool { return len(e.observations) > 1 }

// oneStatement reports whether accepting the event takes one statement, which needs no transaction.
func (e *Event) oneStatement() bool {
	return e.kind == kindException || e.kind == kindObservations && len(e.observations) <= ChunkSize
}
