package input

import "io"

const (
	// maxString is how many bytes of a string or a number in JSON are read, as they are written. None that is kept is
	// nearly as long, and a decoder holds each as a whole, several times while it grows.
	maxString = 1<<20 + 1
	// mostToEnd is how many bytes more a string has where it would end within a character.
	mostToEnd = 16
)

// cutStrings is JSON whose strings and numbers end after about maxString bytes; what comes behind is left out as it is
// read. It changes nothing else: JSON that is broken elsewhere stays so.
type cutStrings struct {
	in     io.Reader
	inside bool // a string
	length int  // of the string, or the number, so far
	escape int  // how many bytes of an escape are to come
	digits [5]byte
	pair   bool // the escape before was the first half of a surrogate pair
	drops  bool // the rest of the string
}

// Read implements io.Reader.
func (c *cutStrings) Read(p []byte) (int, error) {
	for {
		n, err := c.in.Read(p)
		kept := c.keep(p[:n])
		if kept > 0 || err != nil || n == 0 {
			return kept, err
		}
	}
}

// keep moves the bytes that are kept to the beginning of p and returns their number.
func (c *cutStrings) keep(p []byte) int {
	kept := 0
	for _, b := range p {
		if c.keeps(b) {
			p[kept] = b
			kept++
		}
	}
	return kept
}

// keeps takes the next byte and reports whether it is kept.
func (c *cutStrings) keeps(b byte) bool {
	if !c.inside {
		switch b {
		case '"':
			c.inside, c.pair, c.drops = true, false, false
			fallthrough
		case ' ', '\t', '\r', '\n', ',', ':', '[', ']', '{', '}':
			c.length = 0
			return true
		}
		c.length++
		return c.length <= maxString
	}
	c.length++
	if c.escape > 0 {
		c.inEscape(b)
		return !c.drops
	}
	if b == '"' {
		c.inside, c.length = false, 0
		return true
	}
	// Neither the bytes of a character nor the halves of a pair are parted.
	if c.length > maxString && (!c.pair && b&0xC0 != 0x80 || c.length > maxString+mostToEnd) {
		c.drops = true
	}
	if b == '\\' {
		c.escape = len(c.digits)
	} else {
		c.pair = false
	}
	return !c.drops
}

// inEscape takes a byte of an escape, behind its backslash: \n, or \u00e4.
func (c *cutStrings) inEscape(b byte) {
	at := len(c.digits) - c.escape
	c.digits[at] = b
	if c.escape--; at == 0 && b != 'u' {
		c.escape, c.pair = 0, false
	} else if c.escape == 0 {
		first := c.digits[1] == 'd' || c.digits[1] == 'D'
		c.pair = first && (c.digits[2] == '8' || c.digits[2] == '9' || c.digits[2]|0x20 == 'a' || c.digits[2]|0x20 == 'b')
	}
}
