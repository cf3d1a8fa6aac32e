package main

import (
	"context"
	"runtime"
	"runtime/metrics"
	"slices"
	"time"
)

// interleave takes n samples of every arm, one of each a round, so that what
// the machine does meanwhile meets all alike. Every other round has the order
// turned around. Before each sample it collects garbage.
func interleave[T any](ctx context.Context, n int, arms ...func() (T, error)) ([][]T, error) {
	samples := make([][]T, len(arms))
	order := make([]int, len(arms))
	for i := range order {
		order[i] = i
	}
	for range n {
		for _, i := range order {
			if err := settle(ctx); err != nil {
				return nil, err
			}
			v, err := arms[i]()
			if err != nil {
				return nil, err
			}
			samples[i] = append(samples[i], v)
		}
		slices.Reverse(order)
	}
	return samples, nil
}

// settle collects garbage and waits for the cleanups that this sets off: of
// watchers, for one, there may be a million. The error is the cause of ctx.
func settle(ctx context.Context) error {
	runtime.GC()
	counts := []metrics.Sample{{Name: "/gc/cleanups/queued:cleanups"}, {Name: "/gc/cleanups/executed:cleanups"}}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for patience := 5000; patience > 0; patience-- {
		metrics.Read(counts)
		if counts[1].Value.Uint64() >= counts[0].Value.Uint64() {
			break // the counts are approximate, hence the patience
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	return context.Cause(ctx)
}
