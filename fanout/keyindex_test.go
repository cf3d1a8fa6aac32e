package fanout

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"unsafe"
	"weak"

	"github.com/cornelk/hashmap"
	"pgregory.net/rapid"
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
	if sum != n || x.len() != n {
		t.Fatalf("tables have %d keys, len is %d, want %d", sum, x.len(), n)
	}
	return buckets
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

func TestKeyIndexClonesKeys(t *testing.T) {
	x := newKeyIndex[indexed]()
	buf := []byte("key")
	v := &indexed{}
	x.set(unsafe.String(&buf[0], len(buf)), v)
	copy(buf, "xxx")
	if x.get("key") != v {
		t.Error("the index holds on to the caller's bytes")
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

func TestKeyIndexOracle(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"spread": 200_000, "one shard": 20_000, "six hashes": 300} {
		t.Run(name, func(t *testing.T) {
			x := newKeyIndexWith(keyHashes[name])
			rng := rand.New(rand.NewPCG(1, uint64(size)))
			keys := make([]string, size)
			for i := range keys {
				keys[i] = fmt.Sprintf("key.%d", i)
			}
			oracle := make(map[string]*indexed)
			updates := min(size, 60_000)
			// Out of ten updates of a round this many delete.
			for round, deletes := range []int{0, 10, 10, 3} {
				for i := range updates {
					key := keys[rng.IntN(size)]
					var v *indexed
					if rng.IntN(10) >= deletes {
						v = &indexed{key, uint64(round*updates + i)}
					}
					x.update(key, func(old *indexed) *indexed {
						if old != oracle[key] {
							t.Fatalf("round %d: update of %s has %v, want %v", round, key, old, oracle[key])
						}
						return v
					})
					if v == nil {
						delete(oracle, key)
					} else {
						oracle[key] = v
					}
				}
				for _, key := range keys {
					if got := x.get(key); got != oracle[key] {
						t.Fatalf("round %d: get(%s) is %v, want %v", round, key, got, oracle[key])
					}
				}
				x.check(t, len(oracle))
			}
		})
	}
}

func TestKeyIndexModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		hash := rapid.SampledFrom([]string{"spread", "one shard", "six hashes"}).Draw(t, "hash")
		x := newKeyIndexWith(keyHashes[hash])
		model := make(map[string]*indexed)
		span := rapid.IntRange(0, 100)
		version := uint64(0)
		setAll := func(t *rapid.T, value func(key string) *indexed) {
			from, n := span.Draw(t, "from"), span.Draw(t, "n")/rapid.SampledFrom([]int{1, 50}).Draw(t, "part")
			for i := from; i <= from+n; i++ {
				key := strconv.Itoa(i)
				v := value(key)
				x.update(key, func(old *indexed) *indexed {
					if old != model[key] {
						t.Fatalf("update of %s has %v, want %v", key, old, model[key])
					}
					return v
				})
				if model[key] = v; v == nil {
					delete(model, key)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				setAll(t, func(key string) *indexed { version++; return &indexed{key, version} })
			},
			"delete": func(t *rapid.T) { setAll(t, func(string) *indexed { return nil }) },
			"keep":   func(t *rapid.T) { setAll(t, func(key string) *indexed { return model[key] }) },
			"": func(t *rapid.T) {
				x.check(t, len(model))
				for i := range 210 {
					if key := strconv.Itoa(i); x.get(key) != model[key] {
						t.Fatalf("get(%s) is %v, want %v", key, x.get(key), model[key])
					}
				}
			},
		})
	})
}
