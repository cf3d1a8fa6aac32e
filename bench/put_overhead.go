package main

import (
	"context"
	"runtime"
	"time"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/node"
)

// putOverhead is what watchers who have nothing to receive take away from the
// puts of a node: 64 goroutines put, and others watch keys that they do not
// write.
var putOverhead = &measure{
	name: "put-overhead",
	figures: []figure{
		{"put-overhead-1k", "ratio", atLeast(0.99)},
		{"put-overhead-100k", "ratio", atLeast(0.99)},
	},
	full: size{samples: 25, watchers: 100_000, duration: 400 * time.Millisecond},
	tiny: size{samples: 2, watchers: 1000, duration: 30 * time.Millisecond},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		n, stop, err := startNode(ctx, e.dir)
		if err != nil {
			return nil, err
		}
		defer stop()
		idle := make([]string, s.watchers)
		for i := range idle {
			idle[i] = "idle/" + key(i)
		}
		put := putter(n)
		arm := func(watchers int) func() (float64, error) {
			return func() (float64, error) {
				held, err := watchIdle(ctx, n, idle[:watchers])
				if err != nil {
					return 0, err
				}
				defer func() {
					for _, w := range held {
						w.Stop()
					}
				}()
				runtime.GC() // as before the sample without watchers
				return putRate(s.duration, put)
			}
		}
		puts, err := interleave(ctx, s.samples, arm(0), arm(s.watchers/100), arm(s.watchers))
		if err != nil {
			return nil, err
		}
		none := map[string]float64{"puts/s, 0 watchers": median(puts[0])}
		return []finding{
			{samples: ratios(puts[1], puts[0]), compare: none},
			{samples: ratios(puts[2], puts[0]), compare: none},
		}, nil
	},
}

func watchIdle(ctx context.Context, n *node.Node, keys []string) ([]*fanout.Watcher, error) {
	watchers := make([]*fanout.Watcher, len(keys))
	for i, key := range keys {
		var err error
		if watchers[i], err = n.WatchKey(ctx, key); err != nil {
			return nil, err
		}
	}
	return watchers, nil
}
