package rule

// Type says what a notification is about.
type Type string

// Types of notifications.
const (
	TypeObservation      Type = "observation"
	TypeObservationTitle Type = "observation_title"
	TypeSecurityGate     Type = "security_gate"
	TypeException        Type = "exception"
	TypeTask             Type = "task"
)

// TypeInfo is what differs between types of notifications, apart from the code that makes them.
type TypeInfo struct {
	Type   Type
	Name   string // in words
	Plural string // of Name
	Short  string // where there is little room
	// Holder says whose contacts receive them: those of a part of the settings or, with HolderProduct, those of the
	// product or its group.
	Holder  HolderKind
	Events  []Event // that they can have; nil: they have none
	Members bool    // users who are no administrators see them, where the settings say so
}

// typeTable is the one table of types of notifications.
var typeTable = []TypeInfo{
	{
		Type: TypeObservation, Name: "Observation", Plural: "Observations", Short: "Observation",
		Holder: HolderProduct, Events: []Event{EventNew, EventChanged, EventDropped}, Members: true,
	},
	{
		Type: TypeObservationTitle, Name: "Observation title", Plural: "Observation titles", Short: "Title",
		Holder: HolderTitles, Events: []Event{EventNew, EventChanged},
	},
	{
		Type: TypeSecurityGate, Name: "Security gate", Plural: "Security gates", Short: "Gate",
		Holder: HolderProduct, Events: []Event{EventPassed, EventFailed, EventNoResult}, Members: true,
	},
	{Type: TypeException, Name: "Exception", Plural: "Exceptions", Short: "Exception", Holder: HolderExceptions},
	{
		Type: TypeTask, Name: "Background task", Plural: "Background tasks", Short: "Task", Holder: HolderExceptions,
		Members: true,
	},
}

// Types lists all types of notifications.
var Types = typesWith(func(TypeInfo) bool { return true })

// MemberTypes lists the types of notifications that a user who is no administrator may see.
var MemberTypes = typesWith(func(t TypeInfo) bool { return t.Members })

func typesWith(has func(TypeInfo) bool) []Type {
	var out []Type
	for _, t := range typeTable {
		if has(t) {
			out = append(out, t.Type)
		}
	}
	return out
}

// Info returns the entry of a type in the table. For an unknown type it makes one whose name is the word itself.
func (t Type) Info() TypeInfo {
	for _, i := range typeTable {
		if i.Type == t {
			return i
		}
	}
	return TypeInfo{Type: t, Name: string(t), Plural: string(t), Short: string(t)}
}

// hasValues reports whether notifications of the type are about values.
func (t Type) hasValues() bool { return t == TypeObservation || t == TypeObservationTitle }

// Events lists the events that notifications of the type can have. Exceptions and tasks have none.
func (t Type) Events() []Event { return t.Info().Events }
