package rule

import (
	"errors"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

var (
	errBadAddress    = errors.New("is not a valid email address")
	errUnclearLetter = errors.New("has a letter behind the @ that stands for another one: write the domain in plain " +
		"lower-case letters")
	errBadDomain = errors.New("has a domain that is not valid")
)

// EmailIdentity returns the form in which an email address is compared: two addresses are the same one exactly where
// their identities are equal. Before the @, only the letters A to Z are folded; the domain is converted to ASCII by
// IDNA (https://www.rfc-editor.org/rfc/rfc5891#section-5). A domain is refused where one of its letters stands for
// another: U+0130 and U+212A, whose lower case is in ASCII, or a full-width letter, which IDNA maps. Such a domain
// looks like one that belongs to somebody else. Errors continue a sentence that begins with the address, and do not
// repeat it.
func EmailIdentity(address string) (string, error) {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return "", errBadAddress
	}
	domain, err := domainIdentity(address[at+1:])
	return foldASCII(address[:at]) + "@" + domain, err
}

func domainIdentity(domain string) (string, error) {
	if isASCII(domain) {
		return foldASCII(domain), nil
	}
	lower := strings.Map(func(r rune) rune {
		if l := unicode.ToLower(r); r < unicode.MaxASCII || l > unicode.MaxASCII {
			return l
		}
		return r // its lower case is a letter of ASCII: IDNA maps it, and so the domain is refused below
	}, domain)
	ascii, err := idna.Lookup.ToASCII(lower)
	if err != nil {
		return "", errBadDomain
	}
	labels, wanted := strings.Split(ascii, "."), strings.Split(lower, ".")
	if len(labels) != len(wanted) {
		return "", errUnclearLetter
	}
	for i, label := range labels {
		if !isASCII(wanted[i]) {
			label, err = idna.Lookup.ToUnicode(label)
		}
		if err != nil || label != wanted[i] {
			return "", errUnclearLetter
		}
	}
	return ascii, nil
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// foldASCII lowers the letters A to Z and no others.
func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}

// Addresses splits a comma-separated list of email addresses that another system has stored: it leaves out empty
// entries and checks nothing; email.SplitAddresses is for a list that a user enters. An address that is named twice, in
// whatever case, is returned once, as it is written first.
func Addresses(list string) []string {
	var out []string
	seen := map[string]bool{}
	for a := range strings.SplitSeq(list, ",") {
		a = strings.TrimSpace(a)
		identity, err := EmailIdentity(a)
		if err != nil { // not a valid address: only an identical text counts as the same
			identity = a
		}
		if a != "" && !seen[identity] {
			seen[identity] = true
			out = append(out, a)
		}
	}
	return out
}
