package fanout

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// tracked is a key with what its only writer has begun and finished, each as
// version<<1, plus 1 if the key is present. Versions grow by one an update.
type tracked struct {
	key         string
	held        bool // never deleted once it is there
	begun, done atomic.Uint64
}

// read gets the key and says what is wrong with the answer, if anything: it
// must be what was registered at one moment between begin and end of the get.
func (k *tracked) read(x *keyIndex[indexed]) error {
	done := k.done.Load()
	v := x.get(k.key)
	begun := k.begun.Load()
	switch {
	case v == nil:
		if k.held || begun == done && done&1 == 1 {
			return fmt.Errorf("get misses %q (held: %v), present in version %d", k.key, k.held, done>>1)
		}
	case v.key != k.key:
		return fmt.Errorf("get(%q) finds the value of %q", k.key, v.key)
	case v.version < done>>1 || v.version > begun>>1:
		return fmt.Errorf("get(%q) finds version %d; it is at %d to %d", k.key, v.version, done>>1, begun>>1)
	case v.version == done>>1 && done&1 == 0:
		return fmt.Errorf("get(%q) finds version %d, which deleted it", k.key, v.version)
	}
	return nil
}

// write moves the key to its next version, present or not.
func (k *tracked) write(x *keyIndex[indexed], last *indexed, present bool) (v *indexed, err error) {
	state := (k.begun.Load()>>1 + 1) << 1
	if present {
		state |= 1
		v = &indexed{k.key, state >> 1}
	}
	k.begun.Store(state)
	x.update(k.key, func(old *indexed) *indexed {
		if old != last {
			err = fmt.Errorf("update of %q has %v, want %v", k.key, old, last)
		}
		return v
	})
	k.done.Store(state)
	return v, err
}

func TestKeyIndexConcurrent(t *testing.T) {
	for _, procs := range []int{1, 2, 4} {
		for name, size := range map[string]int{"spread": 10_000, "one shard": 1000, "six hashes": 60} {
			t.Run(fmt.Sprintf("%s/%d", name, procs), func(t *testing.T) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				testKeyIndexConcurrent(t, newKeyIndexWith(keyHashes[name]), size)
			})
		}
	}
}

func testKeyIndexConcurrent(t *testing.T, x *keyIndex[indexed], size int) {
	const writers, readers, updates, gets = 4, 3, 12_000, 24_000
	keys := make([]*tracked, size)
	last := make([]*indexed, size)
	for i := range keys {
		keys[i] = &tracked{key: strconv.Itoa(i), held: i%8 == 0}
		if keys[i].held {
			last[i], _ = keys[i].write(x, nil, true)
		}
	}
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() { // writes the keys that are w modulo writers
			rng := rand.New(rand.NewPCG(uint64(w), 2))
			for n := range updates {
				i := rng.IntN(size/writers)*writers + w
				// Tables grow and shrink: for a while most keys are
				// inserted, then most are deleted.
				deletes := 1
				if n/(updates/4)%2 == 1 {
					deletes = 15
				}
				present := keys[i].held || rng.IntN(16) >= deletes
				var err error
				if last[i], err = keys[i].write(x, last[i], present); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for r := range readers {
		work.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 3))
			for range gets {
				i := rng.IntN(size)
				if err := keys[i].read(x); err != nil {
					t.Error(err)
					return
				}
				if never := "never" + keys[i].key; x.get(never) != nil {
					t.Errorf("get(%q) finds a key that was never inserted", never)
					return
				}
			}
		})
	}
	work.Wait()
	n := 0
	for i, k := range keys {
		if got := x.get(k.key); got != last[i] {
			t.Fatalf("get(%q) is %v in the end, want %v", k.key, got, last[i])
		}
		if last[i] != nil {
			n++
		}
	}
	x.check(t, n)
}
