package fanout

import "sync/atomic"

// keyFilter tells that a key is certainly not in a shard of the index, for a small
// part of what it takes to look it up: most events of a busy store are for nobody. It
// is a Bloom filter (1970) whose bits for a key lie in one word (Putze, Sanders and
// Singler, 2007), so that a look costs one access to memory.
//
// Readers take no lock. Bits are set by who holds the shard's mutex, before the key
// is in the table, and never cleared: a shard that has removed many keys makes a new
// filter of those it has. So a key that was inserted before a look began is never
// denied.
type keyFilter struct{ words []atomic.Uint64 }

// newKeyFilter makes an empty filter for a table of so many buckets, a power of two:
// with one to two keys a bucket, 16 to 32 bits for each.
func newKeyFilter(buckets uintptr) *keyFilter {
	return &keyFilter{make([]atomic.Uint64, max(buckets/2, 1))}
}

func (f *keyFilter) place(hash uintptr) (word *atomic.Uint64, bits uint64) {
	h := uint64(hash) * 0x9E3779B97F4A7C15 // Fibonacci hashing: tables use the bits as they are
	return &f.words[h>>32&uint64(len(f.words)-1)], 1<<(h>>58) | 1<<(h>>26&63) | 1<<(h>>20&63)
}

func (f *keyFilter) add(hash uintptr) {
	word, bits := f.place(hash)
	word.Or(bits)
}

// may reports false if no key with that hash was added.
func (f *keyFilter) may(hash uintptr) bool {
	word, bits := f.place(hash)
	return word.Load()&bits == bits
}
