package fanout

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxKeyBytes is the longest key, in bytes. Escaped and prefixed it still fits
// the control line of a stock NATS server (4,096 bytes) with room for a reply
// subject.
const MaxKeyBytes = 1024

// CheckKey returns an error wrapping [ErrBadKey] if key is empty or longer
// than [MaxKeyBytes].
func CheckKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: it is empty; give a key of 1 to %d bytes", ErrBadKey, MaxKeyBytes)
	case len(key) > MaxKeyBytes:
		return fmt.Errorf("%w: it has %d bytes; the limit is %d", ErrKeyTooLong, len(key), MaxKeyBytes)
	}
	return nil
}

// Keys and subjects.
//
// A key is any non-empty byte string; a NATS subject is dot-separated,
// non-empty tokens without white space, where * and > are wildcards. The
// subject form of a key maps one to the other, totally and reversibly: a key
// that is a valid literal subject stays as it is, and everything else is
// percent-encoded byte by byte:
//
//   - % itself, so that the escape is unambiguous;
//   - * and >, so that a key is never a wildcard;
//   - space and the control characters (ASCII's and U+0080 to U+009F), which
//     end a subject on the wire or wreck a terminal;
//   - bytes that are not UTF-8, which JSON and most clients cannot carry;
//   - a dot that would make an empty token: one at the start, at the end, or
//     right after another.
//
// Patterns are matched on the subject form everywhere, in process and on the
// wire, so that both agree.

const upperHex = "0123456789ABCDEF"

// SubjectForm returns the subject form of key. It allocates only if something
// had to be escaped. The form of an empty key is empty, which is no subject.
func SubjectForm(key string) string {
	i := firstEscape(key)
	if i < 0 {
		return key
	}
	return string(appendSubjectForm(make([]byte, 0, len(key)+16), key))
}

// firstEscape returns the index of the first byte that must be escaped, or -1.
func firstEscape(key string) int {
	tokenStart := 0
	for i := 0; i < len(key); {
		size := plainBytes(key, i, tokenStart)
		if size == 0 {
			return i
		}
		if key[i] == '.' {
			tokenStart = i + 1
		}
		i += size
	}
	return -1
}

func appendSubjectForm(dst []byte, key string) []byte {
	tokenStart := 0
	for i := 0; i < len(key); {
		size := plainBytes(key, i, tokenStart)
		if size == 0 {
			c := key[i]
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
			i++
			continue
		}
		if key[i] == '.' {
			tokenStart = i + 1
		}
		dst = append(dst, key[i:i+size]...)
		i += size
	}
	return dst
}

// plainBytes returns how many bytes at key[i:] stay as they are, 0 if key[i]
// must be escaped. tokenStart is where the current token began.
func plainBytes(key string, i, tokenStart int) int {
	c := key[i]
	switch {
	case c == '.':
		if i == tokenStart || i == len(key)-1 {
			return 0
		}
		return 1
	case c <= ' ', c == 0x7f, c == '%', c == '*', c == '>':
		return 0
	case c < utf8.RuneSelf:
		return 1
	}
	r, size := utf8.DecodeRuneInString(key[i:])
	if r == utf8.RuneError && size <= 1 || r < 0xa0 {
		return 0
	}
	return size
}

// ParseSubjectForm returns the key whose subject form is s. It accepts exactly
// what [SubjectForm] makes, so that a key has one subject only; anything else
// is an error that wraps [ErrBadKey] and names the mend.
func ParseSubjectForm(s string) (string, error) {
	key := s
	if strings.IndexByte(s, '%') >= 0 {
		var err error
		if key, err = unescape(s); err != nil {
			return "", err
		}
	}
	if err := CheckKey(key); err != nil {
		return "", err
	}
	if canonical := SubjectForm(key); canonical != s {
		return "", fmt.Errorf("%w: %q is not how this key is written as a subject; write %q", ErrBadKey, s, canonical)
	}
	return key, nil
}

func unescape(s string) (string, error) {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", badEscape(s[i:])
		}
		hi, ok1 := unhex(s[i+1])
		lo, ok2 := unhex(s[i+2])
		if !ok1 || !ok2 {
			return "", badEscape(s[i : i+3])
		}
		b.WriteByte(hi<<4 | lo)
		i += 2
	}
	return b.String(), nil
}

func badEscape(at string) error {
	return fmt.Errorf("%w: %q is no escape; write %% and two upper-case hex digits, and %%25 for %% itself", ErrBadKey, at)
}

func unhex(c byte) (byte, bool) {
	i := strings.IndexByte(upperHex, c)
	return byte(i), i >= 0
}
