package tasks

import "github.com/seed91453169/tocsin/internal/accept"

// NewSecurityGate reports the value of a product's security gate, nil where it has none. Every change is notified, in
// order. The error is InvalidError.
func NewSecurityGate(productID int64, passed *bool) (*Task, error) {
	return newTask(accept.NewSecurityGate(productID, passed))
}
