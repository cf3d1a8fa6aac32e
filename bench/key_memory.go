package main

import (
	"context"
	"fmt"
	"runtime"
)

// keyMemory is what a key takes in the store: 18 bytes, with a value of 100. Each
// sample is a process of its own.
var keyMemory = &measure{
	name:    "key-memory",
	figures: []figure{{"key-memory", "bytes/key", noGoal}},
	full:    size{samples: 3, count: 1_000_000},
	tiny:    size{samples: 1, count: 10_000},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		var keys []float64
		for range s.samples {
			v, err := freshSample(ctx, "key-memory", e)
			if err != nil {
				return nil, err
			}
			if len(v) != 1 {
				return nil, fmt.Errorf("a sample is %v; want one number", v)
			}
			keys = append(keys, v[0])
		}
		return []finding{{samples: keys, compare: map[string]float64{"key and value alone": float64(len(key(0)) + valueBytes)}}}, nil
	},
	sample: func(_ context.Context, s size) ([]float64, error) {
		before := heap()
		m := machineWith(s.count)
		after := heap()
		if m.Len() != s.count {
			return nil, fmt.Errorf("there are %d keys of %d", m.Len(), s.count)
		}
		return []float64{float64(after-before) / float64(s.count)}, nil
	},
}

// heap returns the bytes of the heap that are in use, after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC() // the first one's sweep is complete now
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
