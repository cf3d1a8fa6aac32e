package main

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/watchcast/watchcast/fanout"
)

// slowTax is what a thousand watchers that nobody reads from do to one that is
// read from. Each time, a batch is published as after one Raft batch: events of
// the stalled watchers' keys, and last the healthy one's, so that it has to
// wait for whatever those cost.
//
// The collector is off, so what the stalled ones keep alive costs nothing here.
//
// The same is published for both arms. In the one that the healthy watcher is
// alone in, nobody watches the other keys: a thousand watchers that are read from
// would have to be woken, and beside them the stalled ones would look cheap.
var slowTax = &measure{
	name:    "slow-tax",
	figures: []figure{{"slow-tax", "ratio", atMost(1.05)}},
	full:    size{samples: 15, watchers: 1000, count: 5000},
	tiny:    size{samples: 3, watchers: 50, count: 100},
	run: func(ctx context.Context, _ env, s size) ([]finding, error) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		r, err := startRig(0, s.watchers)
		if err != nil {
			return nil, err
		}
		defer r.stop()
		k := keys(s.watchers)
		var alone, beside, alone50, beside50 []float64
		for round := range s.samples {
			if err := settle(ctx); err != nil {
				return nil, err
			}
			// Blocks of both arms in turn, so that what the machine does in a
			// second is in both.
			var took [2][]float64
			for block := range slowTaxBlocks {
				for i := range took {
					stalled := (round+block+i)%2 == 1
					t, err := r.slowTaxBlock(ctx, s.count/slowTaxBlocks, k, stalled)
					if err != nil {
						return nil, err
					}
					arm := 0
					if stalled {
						arm = 1
					}
					took[arm] = append(took[arm], t...)
				}
			}
			alone = append(alone, quantile(took[0], 0.99))
			beside = append(beside, quantile(took[1], 0.99))
			alone50 = append(alone50, quantile(took[0], 0.5))
			beside50 = append(beside50, quantile(took[1], 0.5))
		}
		return []finding{{samples: ratios(beside, alone), compare: map[string]float64{
			"p99 alone, µs":       median(alone),
			"p99 beside them, µs": median(beside),
			"p50 alone, µs":       median(alone50),
			"p50 beside them, µs": median(beside50),
			"ratio of the p50":    median(ratios(beside50, alone50)),
		}}}, nil
	},
}

const (
	slowTaxBlocks = 20 // of each arm in a round
	slowTaxBatch  = 7  // events of stalled watchers' keys, before the healthy one's
	slowTaxStart  = 10 // events before those that count: a block's first ones find nobody awake
)

// slowTaxBlock times n events of the healthy watcher. Before that the others'
// keys have as many events as fill a buffer and overflow it.
func (r *rig) slowTaxBlock(ctx context.Context, n int, keys []string, stalled bool) ([]float64, error) {
	var watchers []*fanout.Watcher
	if stalled {
		var err error
		if watchers, err = r.watch(keys); err != nil {
			return nil, err
		}
		defer func() {
			for _, w := range watchers {
				w.Stop()
			}
		}()
	}
	overflow := (fanout.DefaultBuffer + 1) * len(keys)
	if err := r.publish(overflow, func(i int) string { return keys[i%len(keys)] }); err != nil {
		return nil, err
	}
	for _, w := range watchers {
		if w.Dropped() == 0 {
			return nil, errors.New("a watcher that nobody reads from has lost nothing")
		}
	}
	took, err := r.latencyBeside(ctx, slowTaxStart+n, block, keys, slowTaxBatch)
	if err != nil {
		return nil, err
	}
	return took[slowTaxStart:], nil
}
