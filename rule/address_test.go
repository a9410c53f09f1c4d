package rule_test

import (
	"testing"

	"github.com/seed91453169/tocsin/rule"
)

func TestEmailIdentity(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"ciso@victim.example":          "ciso@victim.example",
		"CISO@Victim.Example":          "ciso@victim.example",
		"müller@example.com":           "müller@example.com",
		"MÜLLER@EXAMPLE.COM":           "mÜller@example.com",
		"\u212aim@example.com":         "\u212aim@example.com",
		"a@bücher.example":             "a@xn--bcher-kva.example",
		"a@BÜCHER.example":             "a@xn--bcher-kva.example",
		"a@XN--Bcher-KVA.example":      "a@xn--bcher-kva.example",
		"a@straße.example":             "a@xn--strae-oqa.example",
		"a@strasse.example":            "a@strasse.example",
		"a@xn--bcher-kva.bücher.de":    "a@xn--bcher-kva.xn--bcher-kva.de",
		"a@under_score.example":        "a@under_score.example",
		"a@v\u0131ctim.example":        "a@xn--vctim-n4a.example", // dotless: another domain
		"a@vİctim.example":             "",
		"a@victim.e\u212aample":        "",
		"a@\u212a.example":             "",
		"a@ｖictim.example":             "",
		"a@victim\u3002example":        "",
		"a@victim.example\u2024com":    "",
		"a@vic\u200btim.example":       "",
		"a@vic\u00adtim.example":       "",
		"a@bu\u0308cher.example":       "",
		"a@\ufb01rma.example":          "",
		"a@\u1e9e.example":             "a@xn--zca.example", // ẞ is the capital of ß
		"nobody":                       "",
		"\u017f@example.com":           "\u017f@example.com",
		"a@\u017fecret.example":        "",
		"a@ﬀ.example":                  "",
		"a@\u2102.example":             "",
		"a@ex\uff0eample":              "",
		"first@second@Example.com":     "first@second@example.com",
		"a@\u0391\u0391\u03a3.example": "a@xn--mxaa8c.example", // Σ is the capital of σ
	} {
		got, err := rule.EmailIdentity(address)
		if want == "" {
			if err == nil {
				t.Errorf("%q is taken as %q", address, got)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", address, got, err, want)
		}
	}
}
