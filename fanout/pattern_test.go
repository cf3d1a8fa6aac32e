package fanout

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server/gsl"
	"pgregory.net/rapid"
)

var patterns = []struct {
	pattern string
	refusal string // part of the error; empty if it is good
}{
	{"a", ""},
	{"a.b", ""},
	{"*", ""},
	{"*.*", ""},
	{"a.*.c", ""},
	{">", ""},
	{"a.>", ""},
	{"*.>", ""},
	{"a.%2Eb", ""},
	{"%2E.>", ""},
	{"%2Ea.%2Eb.*", ""},
	{"*.%2E%2E", ""},
	{"*.%2Ea%2E", ""},
	{"a%20b.*", ""},
	{"é.*", ""},
	{strings.Repeat("%FF", MaxKeyBytes), ""},
	{strings.Repeat("a", MaxKeyBytes-2) + ".*", ""},
	{strings.Repeat("a", MaxKeyBytes-2) + ".>", ""},
	{"*." + strings.Repeat("%FF", MaxKeyBytes-2), ""},
	{strings.Repeat("a", MaxKeyBytes-1) + ".>", "no key matches it, for that would have 1025 bytes or more; the limit is 1024"},
	{strings.Repeat("a", MaxKeyBytes+1) + ".>", "1027 bytes or more; the limit is 1024"},
	{"*." + strings.Repeat("%FF", MaxKeyBytes-1), "1025 bytes or more"},
	{strings.Repeat("*.", MaxKeyBytes/2) + "*", "1025 bytes or more"},
	{"", "> for every key"},
	{strings.Repeat("%FF", MaxKeyBytes) + "a", "the limit is 3072"},
	{".", `write "%2E"`},
	{"a..b", `write "a.%2Eb"`},
	{".>", "empty token"},
	{"a..*", "empty token"},
	{">.a", "last token"},
	{"a.>.b", "last token"},
	{"a*", "%2A"},
	{"a.b>", "%3E"},
	{"**", "whole tokens"},
	{"a b", `"a%20b"`},
	{"a.\xff.*", `"%FF"`},
	{"%41.*", `"A"`},
	{"a.%2.*", "malformed escape"},
	{"a.%2e", "upper-case"},
	{"a%2Eb", `write "a.b"`},
	{"a%2Eb.*", `"a%2Eb.*": no key matches it, for a dot is written %2E at the start`},
	{"*.a%2Eb", "no key matches it, for a dot"},
	{"a%2E.*", "no key matches it, for a dot"},
	{"%2E%2E.>", "no key matches it, for a dot"},
	{"*.%2E%2E%2E", "no key matches it, for a dot"},
	{strings.Repeat("a", MaxKeyBytes+1), "the limit is 1024"},
}

func TestCheckPattern(t *testing.T) {
	for _, c := range patterns {
		switch err := CheckPattern(c.pattern); {
		case c.refusal == "" && err != nil:
			t.Errorf("CheckPattern(%.20q): %v", c.pattern, err)
		case c.refusal != "" && (!errors.Is(err, ErrBadPattern) || !strings.Contains(err.Error(), c.refusal)):
			t.Errorf("CheckPattern(%.20q): %v, want ErrBadPattern that says %s", c.pattern, err, c.refusal)
		case errors.Is(err, ErrBadKey):
			t.Errorf("CheckPattern(%.20q): %v wraps a second outcome", c.pattern, err)
		}
	}
}

// FuzzCheckPattern: a registry panics if the matcher refuses what was checked,
// a literal pattern is a key, and every other one matches one.
func FuzzCheckPattern(f *testing.F) {
	for _, c := range patterns {
		f.Add(c.pattern)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		err := CheckPattern(pattern)
		if err != nil && !errors.Is(err, ErrBadPattern) {
			t.Fatalf("CheckPattern(%q): %v does not wrap ErrBadPattern", pattern, err)
		}
		if err == nil {
			matcher := gsl.NewSublist[int]()
			if err := matcher.Insert(pattern, 1); err != nil {
				t.Fatalf("the matcher refuses %q: %v", pattern, err)
			}
			if err := matcher.Remove(pattern, 1); err != nil || matcher.Count() != 0 {
				t.Fatalf("the matcher does not find %q again: %v", pattern, err)
			}
		}
		shortest := strings.NewReplacer("*", "a", ">", "a").Replace(pattern)
		if _, keyErr := ParseSubjectForm(shortest); err == nil && keyErr != nil {
			t.Fatalf("%.80q can match no key: %v", pattern, keyErr)
		}
		if literal(pattern) {
			if _, keyErr := ParseSubjectForm(pattern); (keyErr == nil) != (err == nil) {
				t.Fatalf("%.80q as a pattern: %v; as a key: %v", pattern, err, keyErr)
			}
		}
	})
}

// matches is the reference for what a pattern means: NATS grammar over subject
// forms, written down plainly.
func matches(pattern, key string) bool {
	want, have := strings.Split(pattern, "."), strings.Split(SubjectForm(key), ".")
	for i, token := range want {
		if i >= len(have) {
			return false
		}
		if token == ">" {
			return true
		}
		if token != "*" && token != have[i] {
			return false
		}
	}
	return len(want) == len(have)
}

// anyKey draws keys that are rich in what the forms must escape.
var anyKey = rapid.Map(
	rapid.SliceOfN(rapid.SampledFrom([]string{".", ".", "a", "b", "*", ">", "%", "%2E", " ", "é", "\xff", "\x00"}), 1, 12),
	func(parts []string) string { return strings.Join(parts, "") },
)

// longKey draws keys of up to the most bytes that one may have.
var longKey = rapid.Custom(func(t *rapid.T) string {
	key := strings.Repeat(anyKey.Draw(t, "part"), MaxKeyBytes)
	return key[:rapid.IntRange(MaxKeyBytes-3, MaxKeyBytes).Draw(t, "length")]
})

// widen makes a pattern of a key by putting wildcards in place of tokens.
func widen(t *rapid.T, key string) string {
	tokens := strings.Split(SubjectForm(key), ".")
	for i := range tokens {
		if rapid.Bool().Draw(t, "star") {
			tokens[i] = "*"
		}
	}
	if tail := rapid.IntRange(0, len(tokens)).Draw(t, "tail"); tail < len(tokens) {
		tokens = append(tokens[:tail], ">")
	}
	return strings.Join(tokens, ".")
}

// TestWidenedPatternMatches: a pattern that was made of a key, however long, is good and
// matches what the reference says.
func TestWidenedPatternMatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, other := rapid.OneOf(anyKey, longKey).Draw(t, "key"), anyKey.Draw(t, "other")
		pattern := widen(t, key)
		if err := CheckPattern(pattern); err != nil {
			t.Fatalf("the pattern of %q: %v", key, err)
		}
		matcher := gsl.NewSublist[int]()
		if err := matcher.Insert(pattern, 1); err != nil {
			t.Fatalf("the matcher refuses %q: %v", pattern, err)
		}
		if !matcher.HasInterest(SubjectForm(key)) {
			t.Fatalf("%q does not match %q, from which it was made", pattern, key)
		}
		if got, want := matcher.HasInterest(SubjectForm(other)), matches(pattern, other); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, other, got, want)
		}
	})
}
