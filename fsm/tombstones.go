package fsm

import (
	"iter"
	"slices"
)

// keptTombstones is how many deletes a tombstone outlives. Replicas must agree
// on it, so it is no option, and to change it is to change the format of
// snapshots.
const keptTombstones = 65_536

// tombstone remembers at which revision a key was deleted. Immutable.
type tombstone struct {
	key      string
	revision uint64
	sequence uint64 // of the delete
}

// tombstoneRing holds tombstones in the order of their deletes: a ring of slots
// indexed by a sequence number that counts deletes. The tombstone of a delete
// is forgotten with the len(slots)-th delete after it, neither earlier nor
// later, whatever else happens: so it depends on the log alone. A slot is empty
// if its key was created again, since a living key carries its revision itself.
type tombstoneRing struct {
	slots   []*tombstone
	deletes uint64 // how many there were: the sequence number of the next
}

func (r *tombstoneRing) slot(sequence uint64) **tombstone {
	return &r.slots[sequence%uint64(len(r.slots))]
}

// oldest returns the lowest sequence number that can still have a tombstone.
func (r *tombstoneRing) oldest() uint64 {
	return r.deletes - min(r.deletes, uint64(len(r.slots)))
}

// all yields the tombstones in the order of their deletes.
func (r *tombstoneRing) all() iter.Seq[*tombstone] {
	return func(yield func(*tombstone) bool) {
		for s := r.oldest(); s < r.deletes; s++ {
			if t := *r.slot(s); t != nil && !yield(t) {
				return
			}
		}
	}
}

// each returns a function that gives the tombstones one by one, in the order of their
// deletes, and then nil.
func (r *tombstoneRing) each() func() *tombstone {
	s := r.oldest()
	return func() *tombstone {
		for ; s < r.deletes; s++ {
			if t := *r.slot(s); t != nil {
				s++
				return t
			}
		}
		return nil
	}
}

// clone copies the slots that were ever used: pointers only, and bounded.
func (r *tombstoneRing) clone() tombstoneRing {
	used := min(r.deletes, uint64(len(r.slots)))
	return tombstoneRing{slots: slices.Clone(r.slots[:used]), deletes: r.deletes}
}

// tombstones is the ring with the index that finds a key in it.
type tombstones struct {
	tombstoneRing
	byKey map[string]*tombstone
}

func newTombstones(keep int) tombstones {
	return tombstones{
		tombstoneRing: tombstoneRing{slots: make([]*tombstone, keep)},
		byKey:         make(map[string]*tombstone),
	}
}

// add records that key was deleted at revision. It returns the revision of the delete
// that is forgotten for it, 0 if there is none.
func (t *tombstones) add(key string, revision uint64) (forgotten uint64) {
	if old := *t.slot(t.deletes); old != nil {
		forgotten = old.revision
		delete(t.byKey, old.key)
	}
	t.put(&tombstone{key: key, revision: revision, sequence: t.deletes})
	t.deletes++
	return forgotten
}

// put sets the slot of a tombstone, which is free.
func (t *tombstones) put(ts *tombstone) {
	*t.slot(ts.sequence) = ts
	t.byKey[ts.key] = ts
}

// take removes the tombstone of key and returns its revision, 0 if there is
// none.
func (t *tombstones) take(key string) uint64 {
	ts, ok := t.byKey[key]
	if !ok {
		return 0
	}
	*t.slot(ts.sequence) = nil
	delete(t.byKey, key)
	return ts.revision
}
