package fanout

import (
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
// can match because the shortest would be longer than [MaxKeyBytes] is none either.
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
			if err := checkToken(token); err != nil {
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

// checkToken accepts a token that can occur in a subject form. An escaped dot
// is accepted anywhere: whether the key's form has it depends on its
// neighbours, which a pattern with wildcards does not know.
func checkToken(token string) error {
	raw, err := unescape(token)
	if err != nil {
		return fmt.Errorf("%q holds a malformed escape; write %% and two upper-case hex digits", token)
	}
	var b []byte
	for i := 0; i < len(raw); {
		size := plainBytes(raw, i, -1)
		if size == 0 || raw[i] == '.' {
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
