package fanout

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

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
