package main

import (
	"context"
	"runtime/debug"
)

// notifyAwake is what an event costs the write path while the dispatcher is
// awake: Push for each of a burst of 64, and one Flush.
var notifyAwake = &measure{
	name:    "notify-awake",
	figures: []figure{{"notify-awake", "ns/event", atMost(10).and("0 allocs")}},
	full:    size{samples: 15, count: 1000},
	tiny:    size{samples: 3, count: 20},
	run: func(ctx context.Context, _ env, s size) ([]finding, error) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		r, err := startRig(awakeSpin, 0)
		if err != nil {
			return nil, err
		}
		defer r.stop()
		k := keys(1)
		if err := r.watchAll(); err != nil {
			return nil, err
		}
		if err := r.fill(k); err != nil {
			return nil, err
		}
		samples, err := interleave(ctx, s.samples,
			func() (cost, error) { return r.notify(s.count, k) },
			func() (cost, error) { return notifyBare(s.count, k) })
		if err != nil {
			return nil, err
		}
		// The runtime allocates now and then on its own account; what Push or
		// Flush allocate shows in every sample.
		var ns, floor []float64
		allocs := samples[0][0].allocs
		for _, c := range samples[0] {
			ns = append(ns, c.ns)
			allocs = min(allocs, c.allocs)
		}
		for _, c := range samples[1] {
			floor = append(floor, c.ns)
		}
		perEvent := float64(allocs) / float64(s.count*burstSize)
		return []finding{{samples: ns, compare: map[string]float64{"allocs/event": perEvent, "bare slots, ns": median(floor)}, missed: allocs > 0}}, nil
	},
}
