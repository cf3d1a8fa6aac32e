package nats

import (
	"hash/maphash"
	"slices"

	"github.com/watchcast/watchcast/fanout"
)

// view is what a watch knows of the keys it watches: where each stands, without its
// value. It decides what is news, and what a piece of news says of a loss. It does no
// locking and no waiting.
//
// # The rule
//
// Revisions of one key are sparse, so that one is missing cannot be seen from them. But
// each change names the revision of the one before it. A key stands at the last change
// seen of it, and all keys stand at the floor at least: a list, or a verification, has
// shown that nothing newer lies below. A change whose predecessor is above where its
// key stands has jumped over that one.
//
// Where too many keys are deleted above the floor, some are forgotten. An event at or below
// the revision of the last of them may be from before the deletion of its key, if it is of one
// that is not known: it is no news. What it could have told, an answer from above will.
type view struct {
	keys      map[string]known
	dead      map[string]struct{} // of keys, those that are deleted
	floor     uint64              // everything up to it is known, once settled
	forgotten uint64              // highest revision of a deletion that was forgotten above the floor
	need      uint64              // highest predecessor that was jumped over
	epoch     uint32              // counts lists
	seed      maphash.Seed        // of the values' hashes
	raw       bool                // changes below the floor are not known either, and are news
}

// known is where a key stands.
type known struct {
	revision uint64
	sum      uint64 // of its value
	epoch    uint32 // of the last list that it was in
	alive    bool
}

// sumOf stands for a value that is not kept: a backup of another cluster has revisions of
// its own, so one of these may be that of a key here, with another value.
func (v *view) sumOf(value []byte) uint64 { return maphash.Bytes(v.seed, value) }

func newView(raw bool) *view {
	return &view{seed: maphash.MakeSeed(), raw: raw, keys: make(map[string]known), dead: make(map[string]struct{})}
}

// set moves a key and returns where it stood, which set takes to undo that.
func (v *view) set(key string, k known) (before known) {
	before = v.keys[key]
	v.keys[key] = k
	if k.alive {
		delete(v.dead, key)
	} else {
		v.dead[key] = struct{}{}
	}
	return before
}

// event takes a change that was published. It reports whether that is news, and which
// range of revisions, if any, is known to hold a change of the key that was not seen.
func (v *view) event(e *fanout.Event) (news bool, lost *Range, before known) {
	k := v.keys[e.Key]
	base := max(k.revision, v.floor)
	if k.revision == 0 && !k.alive {
		base = max(base, v.forgotten)
	}
	if e.Revision <= base && (!v.raw || e.Revision <= k.revision) {
		return false, nil, known{}
	}
	if e.PrevRevision > base {
		lost = &Range{From: base + 1, To: e.PrevRevision}
		v.need = max(v.need, e.PrevRevision)
	} else if k.alive && e.PrevRevision == 0 {
		// Its deletion was missed, and is so long ago that the store has forgotten it.
		lost = &Range{From: k.revision + 1, To: e.Revision - 1}
	}
	return true, lost, v.set(e.Key, known{revision: e.Revision, sum: v.sumOf(e.Value), epoch: k.epoch, alive: e.Op == fanout.Put})
}

// change takes an element of an answer to "what has changed". It reports whether that
// is news.
func (v *view) change(c Change) (news bool, before known) {
	k := v.keys[c.Key]
	if c.Revision <= k.revision {
		return false, known{}
	}
	alive := c.Op == fanout.Put
	before = v.set(c.Key, known{revision: c.Revision, sum: v.sumOf(c.Value), epoch: k.epoch, alive: alive})
	return alive || k.alive, before
}

// beginList is called before the first element of a list.
func (v *view) beginList() { v.epoch++ }

// listed takes an element of a list that stands at revision at. It reports whether that
// is news. A key that stands at a higher revision than the list has of it, below that of
// the list, has gone back: the store was restored from a backup. So it was if the key stands
// at the same revision and has another value, or is deleted.
func (v *view) listed(c Change, at uint64) (news bool, before known) {
	k, sum := v.keys[c.Key], v.sumOf(c.Value)
	if k.revision > at || k.alive && k.revision == c.Revision && k.sum == sum {
		k.epoch = v.epoch
		v.keys[c.Key] = k
		return false, known{}
	}
	return true, v.set(c.Key, known{revision: c.Revision, sum: sum, epoch: v.epoch, alive: true})
}

// unlisted returns the keys that are deleted, since the list that has just ended, which
// stands at revision at, does not have them.
func (v *view) unlisted(at uint64) []string {
	var keys []string
	for key, k := range v.keys {
		if k.alive && k.epoch != v.epoch && k.revision <= at {
			keys = append(keys, key)
		}
	}
	return keys
}

// settle says that everything up to floor is known, and that the floor will not go back
// below least. It reports whether that covers all that was jumped over meanwhile.
func (v *view) settle(floor, least uint64) bool {
	v.floor = floor
	v.bury(least)
	if v.need > floor {
		return false
	}
	v.need = 0
	return true
}

// bury lets go of the keys that were deleted up to a revision.
func (v *view) bury(revision uint64) {
	for key := range v.dead {
		if v.keys[key].revision <= revision {
			delete(v.keys, key)
			delete(v.dead, key)
		}
	}
}

// living returns how many keys are not deleted, as far as is known.
func (v *view) living() int { return len(v.keys) - len(v.dead) }

// livingAt returns how many keys that have not changed since a revision were not deleted then.
func (v *view) livingAt(revision uint64) (n int) {
	for _, k := range v.keys {
		if k.alive && k.revision <= revision {
			n++
		}
	}
	return n
}

// forget lets go of the older half of the deleted keys. A raw view gives up to know of losses
// that lie as far back. Another one needs an answer that is asked for behind this: one that is
// on its way may have a key from before its deletion.
func (v *view) forget() {
	revisions := make([]uint64, 0, len(v.dead))
	for key := range v.dead {
		revisions = append(revisions, v.keys[key].revision)
	}
	slices.Sort(revisions)
	last := revisions[len(revisions)/2]
	if v.raw {
		v.floor = max(v.floor, last)
	} else {
		v.forgotten = max(v.forgotten, last)
	}
	v.bury(last)
}

// restart makes every key news, and none: for a store that has nothing to do with the
// one before.
func (v *view) restart() {
	for key := range v.dead {
		delete(v.keys, key)
	}
	clear(v.dead)
	for key := range v.keys {
		v.keys[key] = known{alive: true}
	}
	v.floor, v.forgotten, v.need = 0, 0, 0
}
