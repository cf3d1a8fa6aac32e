package fanouttest

import (
	"bytes"
	"fmt"

	"github.com/watchcast/watchcast/fanout"
)

// rules say what a history is: what [fanout.Ring.Push] asks of the writer, and
// what [fanout.Event] says of its fields. They keep the first that was broken.
type rules struct {
	err       error
	unchained bool
	last      *fanout.Event     // the newest change or Reset
	batch     map[string]bool   // keys of the batch that last belongs to
	replaced  uint64            // revision at which the state was last replaced
	keys      map[string]former // what is known of keys
}

// former is how a key was left.
type former struct {
	revision uint64
	exists   bool
	value    []byte
}

func newRules(unchained bool) rules {
	return rules{
		unchained: unchained,
		last:      new(fanout.Event),
		batch:     make(map[string]bool),
		keys:      make(map[string]former),
	}
}

func (r *rules) refuse(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrHistory, fmt.Sprintf(format, args...))
	}
}

// check returns what was broken; a batch that is still open is.
func (r *rules) check() error {
	if r.err == nil && r.open() {
		return fmt.Errorf("%w: it ends with %s, which is not the last of its batch", ErrHistory, describe(r.last))
	}
	return r.err
}

// open reports whether more of the last batch is to come.
func (r *rules) open() bool {
	return r.last.BatchSize > 1 && r.last.Batch+1 < r.last.BatchSize
}

// change takes in a change, and names what is wrong with it.
func (r *rules) change(e *fanout.Event) {
	before := r.last
	if e.Op < fanout.Put || e.Op > fanout.Expire || e.Key == "" {
		r.refuse("%s is no change of a key", describe(e))
	}
	if e.Op != fanout.Put && len(e.Value) > 0 {
		r.refuse("%s has a value", describe(e))
	}
	if r.open() {
		if e.Revision != before.Revision || e.Batch != before.Batch+1 || e.BatchSize != before.BatchSize {
			r.refuse("%s follows %s within its batch", describe(e), describe(before))
		}
	} else {
		if e.Revision <= before.Revision {
			r.refuse("%s follows %s; revisions must grow", describe(e), describe(before))
		}
		if e.Batch != 0 {
			r.refuse("%s is not the first of its batch, and follows %s", describe(e), describe(before))
		}
		clear(r.batch)
	}
	if r.batch[e.Key] {
		r.refuse("%s: the key occurs twice in its batch", describe(e))
	}
	r.batch[e.Key] = true
	if !r.unchained {
		r.link(e)
	}
	r.last = e
	r.keys[e.Key] = former{revision: e.Revision, exists: e.Op == fanout.Put, value: e.Value}
}

// link checks what e says of the change before it. Whoever forgets tombstones may
// say 0 for a key that does not exist, and whoever keeps no previous values may
// leave them out.
func (r *rules) link(e *fanout.Event) {
	was, known := r.keys[e.Key]
	switch {
	case known && e.PrevRevision != was.revision && (was.exists || e.PrevRevision != 0):
		r.refuse("%s: PrevRevision is %d, want %d", describe(e), e.PrevRevision, was.revision)
	case !known && e.PrevRevision > r.replaced:
		r.refuse("%s: PrevRevision is %d, and the key has no change there", describe(e), e.PrevRevision)
	}
	if e.PrevValue != nil && !bytes.Equal(e.PrevValue, was.value) {
		r.refuse("%s: PrevValue is %q, want %q", describe(e), e.PrevValue, was.value)
	}
}

// replace takes in a new state. Of keys that it lacks nothing is known then, but
// that their last change lies at or below it.
func (r *rules) replace(revision uint64, state State) {
	e := &fanout.Event{Op: fanout.Reset, Revision: revision}
	if r.open() || revision <= r.last.Revision {
		r.refuse("%s follows %s", describe(e), describe(r.last))
	}
	r.last, r.replaced = e, revision
	clear(r.keys)
	for key, entry := range state {
		if entry.Revision > revision {
			r.refuse("%s has %q of revision %d", describe(e), key, entry.Revision)
		}
		r.keys[key] = former{revision: entry.Revision, exists: true, value: entry.Value}
	}
}
