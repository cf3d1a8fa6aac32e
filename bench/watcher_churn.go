package main

import (
	"context"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

// watcherChurn is how fast one goroutine registers and stops watchers while a
// million are held, each of a key of its own: some of them, at random, are
// stopped, and as many with new keys take their place.
var watcherChurn = &measure{
	name: "watcher-churn",
	figures: []figure{
		{"watcher-churn-register", "/s", atLeast(300_000)},
		{"watcher-churn-stop", "/s", atLeast(400_000)},
	},
	full: size{samples: 9, watchers: 1_000_000, count: 100_000},
	tiny: size{samples: 3, watchers: 2000, count: 500},
	run: func(ctx context.Context, _ env, s size) ([]finding, error) {
		r, err := startRig(0, s.watchers)
		if err != nil {
			return nil, err
		}
		defer r.stop()
		names := keys(s.watchers)
		begun := time.Now()
		held, err := r.watch(names)
		if err != nil {
			return nil, err
		}
		filling := rate(s.watchers, time.Since(begun))
		fresh := s.watchers // keys up to here were used
		random := rand.New(rand.NewPCG(1, 2))
		samples, err := interleave(ctx, s.samples, func() (churn, error) {
			leaving := held[len(held)-s.count:]
			for i := range leaving {
				j := random.IntN(len(held))
				k := len(held) - s.count + i
				held[j], held[k] = held[k], held[j]
			}
			names := names[:0]
			for i := range s.count {
				names = append(names, key(fresh+i))
			}
			fresh += s.count
			return r.churn(leaving, names)
		})
		if err != nil {
			return nil, err
		}
		runtime.KeepAlive(held)
		var registered, stopped []float64
		for _, c := range samples[0] {
			registered = append(registered, c.registered)
			stopped = append(stopped, c.stopped)
		}
		return []finding{
			{samples: registered, compare: map[string]float64{"filling up from 0": filling}},
			{samples: stopped},
		}, nil
	},
}

// churn is a sample: how many a second.
type churn struct{ registered, stopped float64 }

// churn stops the watchers and registers others in their places.
func (r *rig) churn(watchers []*fanout.Watcher, keys []string) (c churn, err error) {
	begun := time.Now()
	for _, w := range watchers {
		w.Stop()
	}
	c.stopped = rate(len(watchers), time.Since(begun))
	begun = time.Now()
	for i, key := range keys {
		if watchers[i], err = r.registry.WatchKey(context.Background(), key); err != nil {
			return churn{}, err
		}
	}
	c.registered = rate(len(keys), time.Since(begun))
	return c, nil
}

func rate(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }
