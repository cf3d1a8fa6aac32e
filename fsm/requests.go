package fsm

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"
)

const (
	// MaxRequestIDBytes is the longest request id.
	MaxRequestIDBytes = 64
	// RequestLifetime is how long the outcome of a command with a request id is
	// kept, by the cluster's time, unless there are too many.
	RequestLifetime = 5 * time.Minute

	// keptRequests is how many outcomes are kept at most. Replicas must agree on it,
	// so it is no option, and to change it is to change the format of snapshots.
	keptRequests = 131_072
)

// request is the outcome of a command with a request id. Immutable.
type request struct {
	id   string
	sum  uint32        // of the command; see identity
	time time.Duration // of the state when it was applied
	Result
}

// identity is a checksum of what the command does: all of it but when.
func (c Command) identity() uint32 {
	c.Stamp = Stamp{}
	return crc32.Checksum(c.Append(nil), castagnoli)
}

// lasting reports whether the outcome depends on the state, so that it may be
// another the next time.
func (r Result) lasting() bool {
	return r.Err == nil || errors.Is(r.Err, ErrNotFound) || errors.Is(r.Err, ErrConflict)
}

// requests are the outcomes that are kept, in the order of their commands, and so
// of their times.
type requests struct {
	keep int
	list []*request // the oldest first
	byID map[string]*request
}

func newRequests(keep int) requests {
	return requests{keep: keep, byID: make(map[string]*request)}
}

// answers returns what a later command with the same id is answered with: this
// outcome, if it is the same command. Revision is that of the later one.
func (q *request) answers(c Command, revision uint64) Result {
	if q.sum != c.identity() {
		return Result{Revision: revision, Err: fmt.Errorf("%w, at revision %d: %q; give each request an id of its own", ErrRequestReused, q.Revision, q.id)}
	}
	return q.Result
}

// add keeps an outcome, and forgets the oldest where there are too many.
func (r *requests) add(q *request) {
	if len(r.list) == r.keep {
		r.forget(1)
	}
	r.list = append(r.list, q)
	r.byID[q.id] = q
}

// age forgets what is older than its lifetime at a time.
func (r *requests) age(now time.Duration) {
	n := 0
	for n < len(r.list) && r.list[n].time+RequestLifetime <= now {
		n++
	}
	r.forget(n)
}

func (r *requests) forget(n int) {
	for i, old := range r.list[:n] {
		delete(r.byID, old.id)
		r.list[i] = nil
	}
	// Append moves what is left to a new array when this one is used up.
	r.list = r.list[n:]
}

// clone copies pointers only, and at most as many as are kept.
func (r *requests) clone() []*request { return slices.Clone(r.list) }
