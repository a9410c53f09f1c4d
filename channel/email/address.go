package email

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/rule"
)

// Limits of addresses (https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1 and its erratum 1690), in bytes.
const (
	maxAddress = 254
	maxLocal   = 64
)

// CheckAddress checks that addr is the bare address of one recipient, such as alex@example.com, without a display
// name, quotes, comments or space. It does not check that the address exists.
func CheckAddress(addr string) error {
	if addr == "" {
		return errors.New("must not be empty")
	}
	if len(addr) > maxAddress {
		return fmt.Errorf("must not be longer than %d bytes", maxAddress)
	}
	if position, r := channel.Invisible(addr); position > 0 {
		return fmt.Errorf("has an invisible character (%U) at position %d", r, position)
	}
	at := strings.LastIndexByte(addr, '@')
	parsed, err := mail.ParseAddress(addr)
	if err != nil || at < 1 || !utf8.ValidString(addr) {
		return errors.New("is not a valid email address")
	}
	unfit := func(r rune) bool { return !unicode.IsPrint(r) || strings.ContainsRune("\" ,;<>", r) }
	if parsed.Name != "" || parsed.Address != addr || strings.ContainsFunc(addr, unfit) {
		return errors.New("must be a bare address like alex@example.com")
	}
	if at > maxLocal {
		return fmt.Errorf("has more than %d bytes before the @", maxLocal)
	}
	_, err = rule.EmailIdentity(addr)
	return err
}

// encodeDomain returns addr with a domain beyond ASCII in Punycode (https://www.rfc-editor.org/rfc/rfc5891), the only
// form that mail servers know.
func encodeDomain(addr string) (string, error) {
	at := strings.LastIndexByte(addr, '@') + 1
	if isASCII(addr[at:]) {
		return addr, nil
	}
	identity, err := rule.EmailIdentity(addr)
	return addr[:at] + identity[strings.LastIndexByte(identity, '@')+1:], err
}

// bare returns the address in from, which may have a display name.
func bare(from string) string {
	if a, err := mail.ParseAddress(from); err == nil {
		return a.Address
	}
	return from
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

// SplitAddresses splits a comma-separated list into addresses that pass CheckAddress, and cuts space and invisible
// characters around each. An empty list has none; an empty entry is an error.
func SplitAddresses(list string) ([]string, error) {
	if channel.TrimInvisible(list) == "" {
		return nil, nil
	}
	var addrs []string
	for i, entry := range strings.Split(list, ",") {
		entry = channel.TrimInvisible(entry)
		if err := CheckAddress(entry); err != nil {
			return nil, fmt.Errorf("address %d %w", i+1, err)
		}
		addrs = append(addrs, entry)
	}
	return addrs, nil
}
