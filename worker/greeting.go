package worker

import "strings"

// firstName is the name by which mail greets: the first word of a full name, "Jane" of "Jane Doe" and of "Doe, Jane".
// It is empty where the full name is.
func firstName(fullName string) string {
	if _, given, found := strings.Cut(fullName, ","); found && strings.TrimSpace(given) != "" {
		fullName = given
	}
	words := strings.Fields(fullName)
	if len(words) == 0 {
		return ""
	}
	return words[0]
}
