package rule

// Notification is the part of a notification that decides about filters, recipients and net changes;
// dbmodel.Notification is the whole of it.
type Notification struct {
	ID      int64
	Type    Type
	Event   Event
	Product int64 // 0: of no product
	Thing   int64 // the number of the observation, title or gate, unique in its type; of titles only together with Name

	// Of observations and titles only.
	ParserType ParserType
	Before     *Values // what was last notified; nil for nothing
	After      *Values // what is now

	// Of gates only: the state before the change. NoEvent stands for EventNoResult.
	GateBefore Event

	Name        string // of titles, exceptions and tasks only
	Occurrences int    // of exceptions and tasks only: itself and those that were suppressed before it

	HeldBack bool // a pause held it back, so that nothing of it went at once
	Sent     bool // the subscription for which it was read received it at once; false where it was read for none
}
