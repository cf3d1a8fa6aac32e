package fanout

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// exactIndex is what the benchmark compares.
type exactIndex interface {
	set(key string, v *indexed) // nil deletes
	get(key string) *indexed
}

// plainSyncMap is a sync.Map in the same role.
type plainSyncMap struct{ m sync.Map }

func (p *plainSyncMap) set(key string, v *indexed) {
	if v == nil {
		p.m.Delete(key)
	} else {
		p.m.Store(key, v)
	}
}

func (p *plainSyncMap) get(key string) *indexed {
	v, _ := p.m.Load(key)
	i, _ := v.(*indexed)
	return i
}

// BenchmarkKeyIndex compares the index with sync.Map. One iteration is: of fill,
// the insert of one of n keys into an index that starts empty; of register, a
// delete and an insert at n keys; of the rest, one look-up.
func BenchmarkKeyIndex(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		keys, absent := make([]string, n), make([]string, n)
		for i := range keys {
			keys[i] = fmt.Sprintf("sensors.%d.temperature", i)
			absent[i] = fmt.Sprintf("sensors.%d.pressure", i)
		}
		rand.New(rand.NewPCG(1, 1)).Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		v := &indexed{}
		for _, c := range []struct {
			name string
			make func() exactIndex
		}{
			{"index", func() exactIndex { return newKeyIndex[indexed]() }},
			{"sync.Map", func() exactIndex { return new(plainSyncMap) }},
		} {
			name := func(what string) string { return fmt.Sprintf("%s/%d/%s", what, n, c.name) }
			b.Run(name("fill"), func(b *testing.B) {
				var x exactIndex
				before := heap()
				for i := range b.N {
					if i%n == 0 {
						x = c.make()
					}
					x.set(keys[i%n], v)
				}
				b.StopTimer()
				if b.N >= n && b.N%n == 0 {
					b.ReportMetric(float64(heap()-before)/float64(n), "B/key")
				}
				runtime.KeepAlive(x)
			})
			x := c.make()
			for _, key := range keys {
				x.set(key, v)
			}
			b.Run(name("register"), func(b *testing.B) {
				b.ReportAllocs()
				for i := range b.N {
					x.set(keys[i%n], nil)
					x.set(keys[i%n], v)
				}
			})
			for what, keys := range map[string][]string{"lookup": keys, "lookup-miss": absent} {
				b.Run(name(what), func(b *testing.B) {
					b.ReportAllocs()
					for i := range b.N {
						if (x.get(keys[i%n]) == nil) != (what == "lookup-miss") {
							b.Fatal(keys[i%n])
						}
					}
				})
			}
			b.Run(name("lookup-parallel"), func(b *testing.B) {
				b.RunParallel(func(pb *testing.PB) {
					for i := rand.IntN(n); pb.Next(); i++ {
						if x.get(keys[i%n]) == nil {
							b.Error(keys[i%n])
							return
						}
					}
				})
			})
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
