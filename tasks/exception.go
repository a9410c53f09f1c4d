package tasks

import "github.com/seed91453169/tocsin/internal/accept"

// ExceptionInfo describes an exception in a request. Only Class is required. Message and Trace are cut to 64 KiB,
// Class, User and Function to 1,000 bytes; Trace keeps its end, the others keep their beginning.
type ExceptionInfo struct {
	Class    string // of the exception: "KeyError"
	Message  string
	Trace    string
	User     string // the user who made the request; a user that Tocsin does not know is left out
	Function string // method and route: "GET /api/products/{id}"
	// Fingerprint, where given, replaces message and arguments in deciding whether two exceptions are the same.
	Fingerprint string
}

// TaskExceptionInfo describes an exception in a background task.
type TaskExceptionInfo struct {
	ExceptionInfo
	Arguments     map[string]any // of the task; a value whose name looks like a secret's is stored as "***"
	ProductID     int64          // 0: the product of the observation
	ObservationID int64          // 0: none
}

// NewException reports an exception in a request. The error is InvalidError where Class is missing.
func NewException(e ExceptionInfo) (*Task, error) {
	return newTask(accept.NewException(accept.ExceptionInfo(e)))
}

// NewTaskException reports an exception in a background task. The error is InvalidError where Class is missing, or
// where JSON cannot represent Arguments.
func NewTaskException(e TaskExceptionInfo) (*Task, error) {
	return newTask(accept.NewTaskException(e.internal()))
}

// internal returns e as accept takes it. An alias of accept's type would need no conversion, but go doc shows no fields
// of a type in an internal package.
func (e TaskExceptionInfo) internal() accept.TaskExceptionInfo {
	return accept.TaskExceptionInfo{
		ExceptionInfo: accept.ExceptionInfo(e.ExceptionInfo), Arguments: e.Arguments, ProductID: e.ProductID,
		ObservationID: e.ObservationID,
	}
}
