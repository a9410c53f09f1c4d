package rule

// Notification is what filters and net changes read of a stored notification.
type Notification struct {
	ID      int64
	Type    Type
	Event   Event
	Product int64 // 0: of no product
	Thing   int64 // of observations, titles and gates: which one; unique within the type or, of titles, with Name

	// Of observations and titles only.
	ParserType ParserType
	Before     *Values // what was last notified; nil for nothing
	After      *Values // what is now

	// Of gates only: the state before the change. NoEvent is EventNoResult.
	GateBefore Event

	Name        string // of titles, exceptions and tasks only
	Occurrences int    // of exceptions and tasks only: itself and those that were held back before it

	// HeldBack: a pause held it back, so that nothing of it went at once.
	HeldBack bool
	// Sent: the subscription that asks received it at once; false where nobody asked.
	Sent bool
}
