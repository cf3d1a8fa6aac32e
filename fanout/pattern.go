package fanout

import (
	"errors"
	"fmt"
	"strings"
)

// maxPatternBytes bounds a pattern: a key of MaxKeyBytes with every byte
// escaped.
const maxPatternBytes = 3 * MaxKeyBytes

// CheckPattern returns an error wrapping [ErrBadPattern] if pattern is not a
// pattern in NATS grammar over subject forms (see [SubjectForm]): tokens
// separated by dots, where * stands for any one token and > for one or more at
// the end. A pattern without wildcards is the subject form of one key. One that no key
// can match is none either: the shortest would be longer than [MaxKeyBytes], or a dot is
// escaped where no key's form has it so.
func CheckPattern(pattern string) error {
	if pattern == "" {
		return fmt.Errorf("%w: it is empty; write > for every key", ErrBadPattern)
	}
	if len(pattern) > maxPatternBytes {
		return fmt.Errorf("%w: it has %d bytes; the limit is %d", ErrBadPattern, len(pattern), maxPatternBytes)
	}
	if literal(pattern) {
		if _, err := ParseSubjectForm(pattern); err != nil {
			return fmt.Errorf("%w: %s", ErrBadPattern, strings.TrimPrefix(err.Error(), ErrBadKey.Error()+": "))
		}
		return nil
	}
	rest := pattern
	for more := true; more; {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		switch {
		case token == "*":
		case token == ">":
			if more {
				return fmt.Errorf("%w: %q: > may only be the last token", ErrBadPattern, pattern)
			}
		case token == "":
			return fmt.Errorf("%w: %q has an empty token; dots separate tokens, and a literal dot there is %%2E", ErrBadPattern, pattern)
		case strings.ContainsAny(token, "*>"):
			return fmt.Errorf("%w: %q: * and > stand for whole tokens; write %%2A or %%3E for the character itself", ErrBadPattern, pattern)
		default:
			if err := checkToken(token, !more); err != nil {
				return fmt.Errorf("%w: %q: %s", ErrBadPattern, pattern, err)
			}
		}
	}
	if shortest := shortestMatch(pattern); shortest > MaxKeyBytes {
		return fmt.Errorf("%w: no key matches it, for that would have %d bytes or more; the limit is %d", ErrBadPattern, shortest, MaxKeyBytes)
	}
	return nil
}

// shortestMatch returns the least number of bytes that a key has whose form matches a
// pattern of good tokens: a byte for each escape, and for each wildcard.
func shortestMatch(pattern string) int {
	return len(pattern) - len("FF")*strings.Count(pattern, "%")
}

// checkToken accepts a token that occurs in the subject form of a key, as its last one or
// before that. A dot is escaped where it would make an empty token, so nowhere but at the
// start of a token and at the end of the key: any other one ends the token.
func checkToken(token string, last bool) error {
	raw, err := unescape(token)
	if err != nil {
		return fmt.Errorf("%q holds a malformed escape; write %% and two upper-case hex digits", token)
	}
	var b []byte
	for i := 0; i < len(raw); {
		size := plainBytes(raw, i, -1)
		if raw[i] == '.' {
			if i > 0 && (i < len(raw)-1 || !last) {
				return errors.New("no key matches it, for a dot is written %2E at the start of a token or the end of a key, and plainly elsewhere")
			}
			size = 0
		}
		if size == 0 {
			b = append(b, '%', upperHex[raw[i]>>4], upperHex[raw[i]&15])
			i++
			continue
		}
		b = append(b, raw[i:i+size]...)
		i += size
	}
	if string(b) != token {
		return fmt.Errorf("token %q is written %q in a subject", token, b)
	}
	return nil
}

// literal reports whether a pattern has no wildcards.
func literal(pattern string) bool { return !strings.ContainsAny(pattern, "*>") }
