package fsm

import (
	"strings"
	"time"

	"github.com/tidwall/btree"
)

// Entry is a key with its value. It is immutable: Value is shared with the
// store and must not be written to.
type Entry struct {
	Key   string
	Value []byte
	// Revision is the log index of the last change.
	Revision uint64
	// Time is when the leader appended that change to its log, in UTC.
	Time time.Time
	// Expires is the time of the cluster ([FSM.Time]) at which the key expires; 0 if
	// it does not.
	Expires time.Duration
}

// entries are the keys that exist. They hang twice, in one slot per key: in a
// hash index, which finds a key, and in an ordered tree, which can be copied at
// no cost and is then a consistent state, in key order, for as long as someone
// needs it.
//
// # Why a copy stays as it was
//
// A copy shares nodes and slots with its original. Nodes the tree looks after:
// it copies one that is shared before it changes it. Slots carry the era in
// which they were made, and every copy begins a new one. A slot of the current
// era is in no copy, so set changes it in place, which spares the way down the
// tree, most of the cost of a put; any other it replaces.
//
// It does no locking of its own. Copying needs the lock for writing, like a
// change: the original gets a new era as well, and so do its nodes.
type entries struct {
	index map[string]*slot
	tree  *btree.Map[string, *slot]
	era   uint64
}

// slot is the place of one key.
type slot struct {
	Entry
	era uint64
}

func newEntries() entries {
	return entries{index: make(map[string]*slot), tree: new(btree.Map[string, *slot])}
}

func (s *entries) len() int { return len(s.index) }

// get returns the entry of key, which is good until the next change; nil if
// there is none.
func (s *entries) get(key string) *Entry {
	if at, ok := s.index[key]; ok {
		return &at.Entry
	}
	return nil
}

// set adds or replaces an entry and returns what was there, if anything.
func (s *entries) set(e Entry) (old Entry, existed bool) {
	at, existed := s.index[e.Key]
	if existed {
		old = at.Entry
		if at.era == s.era {
			at.Entry = e
			at.Key = old.Key // the index and the tree hold that one already
			return old, true
		}
	}
	at = &slot{Entry: e, era: s.era}
	s.index[e.Key] = at
	s.tree.Set(e.Key, at)
	return old, existed
}

// load adds an entry whose key is above all that are there.
func (s *entries) load(e Entry) {
	at := &slot{Entry: e, era: s.era}
	s.index[e.Key] = at
	s.tree.Load(e.Key, at)
}

func (s *entries) delete(key string) {
	delete(s.index, key)
	s.tree.Delete(key)
}

// ordered is a copy of the entries, in key order. Any goroutine may read it,
// without a lock.
type ordered struct {
	tree *btree.Map[string, *slot]
}

func (s *entries) copy() ordered {
	s.era++
	return ordered{tree: s.tree.Copy()}
}

func (o ordered) len() int { return o.tree.Len() }

// get returns the entry of key; nil if there is none.
func (o ordered) get(key string) *Entry {
	if at, ok := o.tree.Get(key); ok {
		return &at.Entry
	}
	return nil
}

// all yields the entries in key order.
func (o ordered) all(yield func(*Entry) bool) {
	o.tree.Scan(func(_ string, at *slot) bool { return yield(&at.Entry) })
}

// from returns a function that gives the entries whose keys begin with prefix one
// by one, in key order, and then nil.
func (o ordered) from(prefix string) func() *Entry {
	i := o.tree.Iter()
	next := func() bool { return i.Seek(prefix) }
	return func() *Entry {
		if !next() || !strings.HasPrefix(i.Key(), prefix) {
			next = func() bool { return false }
			return nil
		}
		next = i.Next
		return &i.Value().Entry
	}
}
