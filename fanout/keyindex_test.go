package fanout

import (
	"math/bits"
	"runtime"
	"strconv"
	"testing"
	"weak"

	"github.com/cornelk/hashmap"
)

// indexed is what the tests keep in the index: enough to tell from a value
// which key it was set for, and when.
type indexed struct {
	key     string
	version uint64
}

// keyHashes are the hashes that tests run with: the real one and worse ones.
var keyHashes = map[string]func(h uintptr) uintptr{
	"spread":     func(h uintptr) uintptr { return h },
	"one shard":  func(h uintptr) uintptr { return h &^ (2 * (keyShards - 1)) },
	"six hashes": func(h uintptr) uintptr { return h%6<<(bits.UintSize-4) | 1 },
}

func newKeyIndexWith(worse func(uintptr) uintptr) *keyIndex[indexed] {
	x := newKeyIndex[indexed]()
	hash := x.hash
	x.hash = func(key string) uintptr { return worse(hash(key)) }
	return x
}

func (x *keyIndex[V]) set(key string, v *V) { x.update(key, func(*V) *V { return v }) }

// tables calls f with each table, its writers locked out.
func (x *keyIndex[V]) tables(f func(table *hashmap.Map[string, *V], buckets, keys int)) {
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		if table := s.table.Load(); table != nil {
			f(table, int(s.buckets), int(s.keys.Load()))
		}
		s.mu.Unlock()
	}
}

// check fails the test if a table is not as the type's comment says, or if the
// index does not have n keys. It returns how many buckets there are.
func (x *keyIndex[V]) check(t interface{ Fatalf(string, ...any) }, n int) (buckets int) {
	sum := 0
	x.tables(func(table *hashmap.Map[string, *V], b, keys int) {
		sum += keys
		buckets += b
		if rate := table.FillRate(); rate != 50 {
			t.Fatalf("fill rate %d of a table with %d buckets, %d keys", rate, b, keys)
		}
		if table.Len() != b+keys {
			t.Fatalf("%d entries, want %d sentinels and %d keys", table.Len(), b, keys)
		}
		if keys > 2*b || b > minBuckets && keys < b/4 {
			t.Fatalf("%d keys in %d buckets", keys, b)
		}
		table.Range(func(_ string, v *V) bool {
			if v == nil {
				b--
			} else {
				keys--
			}
			return true
		})
		if b != 0 || keys != 0 {
			t.Fatalf("the list lacks %d sentinels and %d keys", b, keys)
		}
	})
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		if s.removed > s.buckets {
			t.Fatalf("a filter has the bits of %d keys that are gone, for %d buckets", s.removed, s.buckets)
		}
		if table := s.table.Load(); table != nil {
			table.Range(func(key string, v *V) bool {
				if v != nil && (!x.may(x.hash(key)) || !x.has(key)) {
					t.Fatalf("the filter denies key %q, which is there", key)
				}
				return true
			})
		}
		s.mu.Unlock()
	}
	if sum != n || x.len() != n {
		t.Fatalf("tables have %d keys, len is %d, want %d", sum, x.len(), n)
	}
	return buckets
}

func TestKeyIndexTableHash(t *testing.T) {
	const top = bits.UintSize - 1
	for _, h := range []uint64{0, 1, 2, 1 << 63, 1<<63 - 1, 1<<64 - 1} {
		if got := tableHash(h); got>>top != 0 || got&1 != 1 {
			t.Errorf("tableHash(%#x) is %#x, want top bit 0, low bit 1", h, got)
		}
	}
}

func TestKeyIndexBasics(t *testing.T) {
	x := newKeyIndex[indexed]()
	if x.get("") != nil || x.len() != 0 {
		t.Fatal("a new index is not empty")
	}
	x.set("absent", nil)
	if b := x.check(t, 0); b != 0 {
		t.Fatalf("an empty index has %d buckets", b)
	}
	for _, key := range []string{"", "a", "a.b", "\xff\x00"} {
		v := &indexed{key: key}
		x.set(key, v)
		x.update(key, func(old *indexed) *indexed {
			if old != v {
				t.Errorf("update of %q has old value %v", key, old)
			}
			return old
		})
		if x.get(key) != v {
			t.Errorf("get(%q) does not find it", key)
		}
	}
	func() {
		defer func() { recover() }()
		x.update("a", func(*indexed) *indexed { panic("f") })
	}()
	x.set("a", nil)
	if x.get("a") != nil {
		t.Error("a deleted key is found")
	}
	x.check(t, 3)
}

// What goes wrong with a write outside the mutex takes luck to see. But the map
// hashes the key in each operation, so the hasher can look whether it is locked.
func TestKeyIndexLocksWrites(t *testing.T) {
	x := newKeyIndexWith(keyHashes["one shard"])
	mu, hash, unlocked := &x.shards[0].mu, x.hash, 0
	x.hash = func(key string) uintptr {
		if mu.TryLock() {
			mu.Unlock()
			unlocked++
		}
		return hash(key)
	}
	for round, v := range []*indexed{{}, {}, nil, nil, {}} {
		for i := range 100 { // enough for tables to grow and shrink
			unlocked = 0
			x.set(strconv.Itoa(i), v)
			if unlocked != 1 {
				t.Fatalf("round %d: an update hashed %d times outside the mutex, want 1, to pick the shard", round, unlocked)
			}
		}
	}
}

func TestKeyIndexAllocates(t *testing.T) {
	x := newKeyIndex[indexed]()
	v, w := &indexed{}, &indexed{}
	x.set("key", v)
	for _, c := range []struct {
		what string
		want float64
		f    func()
	}{
		{"get", 0, func() { x.get("key") }},
		{"get of an absent key", 0, func() { x.get("none") }},
		{"update to the same value", 0, func() { x.update("key", func(old *indexed) *indexed { return old }) }},
		{"update to another value", 1, func() {
			v, w = w, v
			x.update("key", func(*indexed) *indexed { return v })
		}},
	} {
		if got := testing.AllocsPerRun(100, c.f); got != c.want {
			t.Errorf("%s allocates %v times, want %v", c.what, got, c.want)
		}
	}
}

// A deleted entry that stays linked keeps its value, and in the registry that
// is a watcher with its buffer.
func TestKeyIndexForgetsDeletedValues(t *testing.T) {
	x := newKeyIndex[indexed]()
	var values []weak.Pointer[indexed]
	for i := range 1000 {
		v := &indexed{key: strconv.Itoa(i)}
		values = append(values, weak.Make(v))
		x.set(v.key, v)
	}
	for i := 0; i < len(values); i += 3 {
		x.set(strconv.Itoa(i), nil)
	}
	runtime.GC()
	for i, v := range values {
		if i%3 == 0 && v.Value() != nil {
			t.Fatalf("the value of key %d is held after its deletion", i)
		}
	}
	runtime.KeepAlive(x)
}

func TestKeyIndexGivesMemoryBack(t *testing.T) {
	t.Parallel()
	const keys = 50_000
	x := newKeyIndex[indexed]()
	v := &indexed{}
	for i := range keys {
		x.set(strconv.Itoa(i), v)
	}
	if b := x.check(t, keys); b < keys/2 || b > keys {
		t.Errorf("%d buckets for %d keys", b, keys)
	}
	for i := 10; i < keys; i++ {
		x.set(strconv.Itoa(i), nil)
	}
	// Above the smallest size, a shard has at most four buckets a key.
	if b := x.check(t, 10); b > keyShards*minBuckets+4*10 {
		t.Errorf("%d buckets for 10 keys", b)
	}
}

// get is find for who has no hash.
func (x *keyIndex[V]) get(key string) *V { return x.find(x.hash(key), key) }

// TestKeyFilterIsOfUse: it lets few pass that are not there, with any number of keys,
// also after many were replaced by others.
func TestKeyFilterIsOfUse(t *testing.T) {
	x := newKeyIndex[indexed]()
	next := 0
	add := func(n int) {
		for range n {
			key := strconv.Itoa(next)
			x.set(key, &indexed{key: key})
			next++
		}
	}
	first := 0
	for _, n := range []int{100, 1000, 20_000} {
		add(n - x.len())
		for round := range 3 { // before, and after others have taken their places
			passed := 0
			const looks = 20_000
			for i := range looks {
				if x.may(x.hash("absent" + strconv.Itoa(i))) {
					passed++
				}
			}
			if passed > looks/10 {
				t.Errorf("with %d keys, round %d: %d of %d absent keys pass", n, round, passed, looks)
			}
			for range 3 * n {
				x.set(strconv.Itoa(first), nil)
				first++
				add(1)
			}
		}
	}
}
