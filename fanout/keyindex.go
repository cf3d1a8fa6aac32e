package fanout

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/cornelk/hashmap"
)

const (
	// keyShards is how many writers can be at work at once, if their keys
	// are spread well. A power of two. The array costs 4 KiB.
	keyShards = 64
	// minBuckets is the size of a shard's first table, which it keeps when it
	// is empty again. A power of two.
	minBuckets = 4
)

// keyIndex finds the value registered for an exact key: a hash table that is
// read without a lock. A value is a pointer, never nil, that readers follow
// with no lock either; what it points to is the caller's business.
//
// # Why it is not simply a hashmap.Map
//
// cornelk/hashmap v1.0.8 keeps all entries in one linked list, sorted by hash,
// and an index of entry points into it. Reading it is lock-free. Writing it is
// wrong in places, and the race detector cannot tell, because all of it is
// atomic: Set beside Del loses keys, its asynchronous grow beside Del brings
// deleted keys back, GetOrInsert puts an entry in the index that is not in the
// list; and the first insert into a bucket searches from the list's head. So
// only NewSized, SetHasher, Set, Get, Del and Range are used, as follows.
//
// # Who writes, who reads
//
// Keys are spread over shards by their hash. A shard has a table, which readers
// reach through an atomic pointer, and a mutex, which every writer holds from
// before it looks until after it has written. Readers take no lock.
//
// # Why the map's index never changes
//
// A table of B buckets has an index of 2B slots, picked by the top bits of the
// hash. Our hashes have top bit 0, so they reach the lower B slots only, and
// low bit 1. Before the table is published each of these slots is given a
// sentinel: an entry with the smallest hash of its bucket, whose low bit is 0,
// so that no key equals it and every key of the bucket comes after it. From
// then on:
//
//   - the map moves an entry point to an entry with a smaller hash or to one
//     in an empty slot; there is neither, so slots point to sentinels for ever;
//   - sentinels are never deleted, so Del, which mends the slot only if it
//     points to the deleted entry, does not touch the index;
//   - the map grows when it has filled more than half of the slots; exactly
//     half are filled, so its grow never starts;
//   - a search starts at a sentinel and ends at the next one at the latest. The
//     sentinels themselves go in from the highest to the lowest, each before
//     all others, where the search from the list's head ends at once.
//
// # Why the list is right
//
// An entry is deleted by a mark; then whoever walks past, a reader too, unlinks
// it with a compare-and-swap of its predecessor's next pointer. A linked list
// like this loses an entry that is inserted behind one being deleted. Here that
// cannot happen: writers exclude each other, and a writer's search never stops
// at a marked entry, so nothing is ever inserted behind one.
//
// A reader's swap takes out a marked entry and nothing else. It works only
// while the predecessor still points to that entry; update walks to the place
// after each Del (a Get of the same key does that) before it lets go of the
// mutex, so from then on no live entry points to a marked one, and none ever
// will again: entries are not reused, and the collector keeps the address from
// being reused while a reader holds it. A late swap therefore fails, and no
// insert is undone. The walk also frees the entry, with the key and the value,
// which would otherwise stay until somebody came by.
//
// A reader that stands on an entry while it is deleted goes on from there. All
// that was behind it and is still live it still reaches, because swaps skip
// only marked entries. What was inserted since it may miss; but it came to the
// entry before the deletion, and so before that insert: its get overlaps the
// insert and may count as made before. The same holds for the value of an
// entry that was deleted under the reader. So each get returns what was
// registered at one moment between its begin and its end.
//
// # Why tables can be replaced
//
// A shard with 2B keys gets a table of 2B buckets before the next insert; a
// shard with fewer than B/4, an eighth of what the table is made for, one of
// B/4. The writer builds it under the mutex, from a table that nobody else can
// change meanwhile, and swaps the pointer. The new table has about one key a
// bucket, a factor of 2 away from growing and of 4 from shrinking, so copying
// n keys is paid for by at least 3n/4 updates.
//
// Nobody writes the old table again. A reader that is still in it took the
// pointer before the swap, hence the swap lies within its get, and what it
// finds is the state at the swap or at an earlier moment within its get. A get
// that begins later takes the new table and sees all that was done to it.
//
// So a reader in the old table may return a pointer that was replaced or deleted
// since, but no differently from a reader that was suspended just after it had
// the right answer. Whoever uses the index must stand that in any case; a
// registry does, because a watcher knows itself whether it is stopped, and a
// watch begins when update has returned: any get that begins after that finds
// it.
//
// # What it costs
//
// A key costs 2 to 4 bytes of filter, an entry of 48 bytes and a box of 8 bytes,
// because the map stores a pointer to its value and ours is a pointer itself (it
// cannot hold a V in place: Get would return a copy). A bucket costs a sentinel with
// its box and two slots, 72 bytes, and there are one to two keys for each. Replacing
// a value allocates a new box. A get hashes the key twice, once for the shard and once
// inside the map, and allocates nothing. An update that replaces a table takes time in
// proportion to the keys of the shard, and only other updates of that shard wait for
// it.
type keyIndex[V any] struct {
	shards [keyShards]keyShard[V]
	hash   func(key string) uintptr // top bit 0, low bit 1: see tableHash
}

// keyShard is padded so that writers of one do not slow readers of the next.
type keyShard[V any] struct {
	table   atomic.Pointer[hashmap.Map[string, *V]] // nil before the first key
	filter  atomic.Pointer[keyFilter]               // of the keys in table; nil before it
	keys    atomic.Int64                            // changed under mu
	buckets uintptr                                 // of table; guarded by mu
	removed uintptr                                 // keys whose bits the filter still has; guarded by mu
	mu      sync.Mutex                              // held for every write to table and filter
	_       [16]byte
}

// newKeyIndex returns an empty index.
func newKeyIndex[V any]() *keyIndex[V] {
	seed := maphash.MakeSeed()
	return &keyIndex[V]{hash: func(key string) uintptr {
		return tableHash(maphash.String(seed, key))
	}}
}

// tableHash turns h into a hash as tables need it: top bit 0, low bit 1.
func tableHash(h uint64) uintptr {
	return uintptr(h>>(65-bits.UintSize)) | 1
}

// shard picks by the low bits, beside the one that is always set: tables pick
// buckets by the top ones.
func (x *keyIndex[V]) shard(hash uintptr) *keyShard[V] {
	return &x.shards[hash>>1&(keyShards-1)]
}

// find returns the value of key, of which the caller has the hash, and nil if it has
// none. Any goroutine may call it; it never blocks and does not allocate.
func (x *keyIndex[V]) find(hash uintptr, key string) *V {
	table := x.shard(hash).table.Load()
	if table == nil {
		return nil
	}
	v, _ := table.Get(key)
	return v
}

// may reports false if certainly no key with that hash has a value, and mostly so. Any
// goroutine may call it; it never blocks. Like find, it sees every update that has
// returned.
func (x *keyIndex[V]) may(hash uintptr) bool {
	filter := x.shard(hash).filter.Load()
	return filter != nil && filter.may(hash)
}

// has reports whether key has a value.
func (x *keyIndex[V]) has(key string) bool {
	hash := x.hash(key)
	return x.may(hash) && x.find(hash, key) != nil
}

// update calls f with the value of key, nil if it has none, and makes what f
// returns its value; nil deletes the key. A key that is new is kept as it is, so
// the caller must not pass a piece of something large. When update returns, every get that
// begins sees it. Any goroutine may call it; updates of one key exclude each
// other. f must be short, because updates of other keys wait for it too, and
// must not call update.
//
// f may change what old points to and return old; the index then does nothing,
// and readers may be there already. If f panics nothing is changed.
func (x *keyIndex[V]) update(key string, f func(old *V) *V) {
	s := x.shard(x.hash(key))
	s.mu.Lock()
	defer s.mu.Unlock()
	var old *V
	table := s.table.Load()
	if table != nil {
		old, _ = table.Get(key)
	}
	switch v := f(old); {
	case v == old:
	case old == nil:
		s.insert(key, v, x.hash)
	case v == nil:
		s.remove(key, x.hash)
	default:
		table.Set(key, v)
	}
}

// len returns the number of keys. Any goroutine may call it; beside updates it
// is not the number at one moment.
func (x *keyIndex[V]) len() int {
	n := int64(0)
	for i := range x.shards {
		n += x.shards[i].keys.Load()
	}
	return int(n)
}

// insert adds a key that is absent. The caller holds mu.
func (s *keyShard[V]) insert(key string, v *V, hash func(string) uintptr) {
	switch keys := s.keys.Load(); {
	case s.buckets == 0:
		s.rebuild(minBuckets, hash)
	case keys >= int64(2*s.buckets):
		s.rebuild(2*s.buckets, hash)
	}
	s.filter.Load().add(hash(key)) // first: who finds the key in the table may
	s.table.Load().Set(key, v)
	s.keys.Add(1)
}

// remove deletes a key that is present. The caller holds mu.
func (s *keyShard[V]) remove(key string, hash func(string) uintptr) {
	table := s.table.Load()
	table.Del(key)
	table.Get(key) // walks past the entry, which unlinks it
	s.removed++
	if keys := s.keys.Add(-1); s.buckets > minBuckets && keys < int64(s.buckets/4) {
		s.rebuild(max(s.buckets/4, minBuckets), hash)
	} else if s.removed > s.buckets {
		s.refilter(hash)
	}
}

// refilter makes a new filter of the keys there are. The caller holds mu.
func (s *keyShard[V]) refilter(hash func(string) uintptr) {
	filter := newKeyFilter(s.buckets)
	s.table.Load().Range(func(key string, v *V) bool {
		if v != nil { // else a sentinel
			filter.add(hash(key))
		}
		return true
	})
	s.removed = 0
	s.filter.Store(filter)
}

// rebuild moves the keys to a new table. The caller holds mu.
func (s *keyShard[V]) rebuild(buckets uintptr, hash func(string) uintptr) {
	next := newKeyTable[V](buckets, hash)
	if table := s.table.Load(); table != nil {
		table.Range(func(key string, v *V) bool {
			if v != nil { // else a sentinel
				next.Set(key, v)
			}
			return true
		})
	}
	s.buckets = buckets
	s.table.Store(next)
	s.refilter(hash)
}

// newKeyTable returns a table with its sentinels and no keys. buckets is a power
// of two.
func newKeyTable[V any](buckets uintptr, hash func(string) uintptr) *hashmap.Map[string, *V] {
	table := hashmap.NewSized[string, *V](2 * buckets)
	shift := bits.UintSize - bits.Len(uint(buckets))
	var sentinel uintptr
	table.SetHasher(func(string) uintptr { return sentinel })
	for b := buckets; b > 0; b-- {
		sentinel = (b - 1) << shift
		table.Set("", nil)
	}
	table.SetHasher(hash) // a plain store: before the table is published
	return table
}
