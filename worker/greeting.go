package worker

import "strings"

// firstName is what mail greets by: the first word of a full name, or what stands behind the comma of "Doe, Jane".
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
