package fanout

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats-server/v2/server/gsl"
)

// Filter says which keys are meant: one, or those that a pattern matches. The
// zero value matches no key. Any goroutine may use it.
type Filter struct {
	text    string
	pattern bool
	matcher *gsl.SimpleSublist // of a pattern other than >
}

// KeyFilter returns the filter of one key, given as it is. The error wraps
// [ErrBadKey].
func KeyFilter(key string) (Filter, error) {
	if err := CheckKey(key); err != nil {
		return Filter{}, err
	}
	return Filter{text: key}, nil
}

// PatternFilter returns the filter of a pattern (see [CheckPattern]); without
// wildcards it is that of one key. The error wraps [ErrBadPattern].
func PatternFilter(pattern string) (Filter, error) {
	if err := CheckPattern(pattern); err != nil {
		return Filter{}, err
	}
	if literal(pattern) {
		key, err := ParseSubjectForm(pattern)
		return Filter{text: key}, err
	}
	return newPatternFilter(pattern), nil
}

// newPatternFilter takes a pattern with wildcards that was checked.
func newPatternFilter(pattern string) Filter {
	f := Filter{text: pattern, pattern: true}
	if pattern == everyKey {
		return f
	}
	f.matcher = gsl.NewSimpleSublist()
	if err := f.matcher.Insert(pattern, struct{}{}); err != nil {
		panic(fmt.Sprintf("fanout: the matcher refuses pattern %q, which was checked: %v", pattern, err))
	}
	return f
}

// Key returns the key if the filter is that of one.
func (f Filter) Key() (string, bool) { return f.text, !f.pattern && f.text != "" }

// Prefix returns what every key that is meant begins with, as far as the filter
// says: the key itself, or a pattern's tokens before its first wildcard, with the
// dot behind them; empty for none.
func (f Filter) Prefix() string {
	if !f.pattern {
		return f.text
	}
	head, _, _ := strings.Cut(f.text, "*")
	head = strings.TrimSuffix(head, everyKey)
	prefix, err := unescape(head)
	if err != nil {
		panic(fmt.Sprintf("fanout: pattern %q, which was checked, is malformed: %v", f.text, err))
	}
	return prefix
}

// String returns the key or the pattern.
func (f Filter) String() string { return f.text }

// Match reports whether key is meant.
func (f Filter) Match(key string) bool {
	switch {
	case f.matcher != nil:
		return f.matcher.HasInterest(SubjectForm(key))
	case f.pattern:
		return true
	}
	return key == f.text && key != ""
}
