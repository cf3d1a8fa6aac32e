package fsm

import "strings"

// keptRevisions is how many keys a wrapper remembers at least; with keys of the
// greatest length they take 64 MiB, with usual ones some.
const keptRevisions = 32_768

// revisions remembers where keys changed last, of the keep keys that did so last
// and of up to as many more. It holds two generations of at most keep keys; when
// the young one is full, the old one goes as a whole, so that nothing need be kept
// in order.
type revisions struct {
	keep       int
	young, old map[string]uint64
}

// replace sets the revision of key and returns the one before, 0 if it is not
// known.
func (r *revisions) replace(key string, revision uint64) (before uint64) {
	before, ok := r.young[key]
	if ok {
		r.young[key] = revision
		return before
	}
	before = r.old[key]
	if len(r.young) >= r.keep {
		r.old, r.young = r.young, nil
	}
	if r.young == nil {
		r.young = make(map[string]uint64)
	}
	r.young[strings.Clone(key)] = revision // it may be a part of something large
	return before
}

// forget makes every revision unknown.
func (r *revisions) forget() { r.young, r.old = nil, nil }
