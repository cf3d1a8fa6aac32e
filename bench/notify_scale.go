package main

import (
	"context"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
)

// notifyScale is what a million watchers change about notify-awake. Each event
// has a watcher then, any of them, who does not come for it.
var notifyScale = &measure{
	name:    "notify-scale",
	figures: []figure{{"notify-scale", "ratio", atMost(1.1)}},
	full:    size{samples: 11, watchers: 1_000_000, count: 500},
	tiny:    size{samples: 3, watchers: 1000, count: 20},
	run: func(ctx context.Context, _ env, s size) ([]finding, error) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		k := keys(s.watchers)
		random := rand.New(rand.NewPCG(1, 2))
		random.Shuffle(len(k), func(i, j int) { k[i], k[j] = k[j], k[i] })
		arm := func(watchers int) (take func() (float64, error), stop func(), err error) {
			r, err := startRig(awakeSpin, watchers)
			if err != nil {
				return nil, nil, err
			}
			held, err := r.watch(k[:watchers])
			if err == nil {
				err = r.watchAll()
			}
			if err == nil {
				err = r.fill(k)
			}
			stop = func() { r.stop(); runtime.KeepAlive(held) }
			if err != nil {
				stop()
				return nil, nil, err
			}
			take = func() (float64, error) {
				c, err := r.notify(s.count, k)
				return c.ns, err
			}
			return take, stop, nil
		}
		none, stop, err := arm(0)
		if err != nil {
			return nil, err
		}
		defer stop()
		many, stop, err := arm(s.watchers)
		if err != nil {
			return nil, err
		}
		defer stop()
		ns, err := interleave(ctx, s.samples, none, many)
		if err != nil {
			return nil, err
		}
		return []finding{{samples: ratios(ns[1], ns[0]), compare: map[string]float64{
			"ns/event, 0 watchers":                                  median(ns[0]),
			"ns/event, " + short(float64(s.watchers)) + " watchers": median(ns[1]),
		}}}, nil
	},
}
