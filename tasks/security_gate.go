package tasks

import "github.com/seed91453169/tocsin/internal/accept"

// NewSecurityGate reports whether a product passed its security gate; nil: the gate has no result. Every change is
// notified, in order. The error is InvalidError.
func NewSecurityGate(productID int64, passed *bool) (*Task, error) {
	return newTask(accept.NewSecurityGate(productID, passed))
}
