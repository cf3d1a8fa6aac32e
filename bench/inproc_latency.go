package main

import (
	"context"
	"fmt"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

// inprocLatency is the time from just before Push to the return of a watcher's
// Next, with an event every 200 µs and the default spin. In between the
// producer waits for a channel, as Raft's apply goroutine does.
var inprocLatency = &measure{
	name: "inproc-latency",
	figures: []figure{
		{"inproc-latency-p50", "µs", atMost(6)},
		{"inproc-latency-p99", "µs", atMost(50)},
	},
	full: size{samples: 11, count: 2000},
	tiny: size{samples: 3, count: 50},
	run: func(ctx context.Context, _ env, s size) ([]finding, error) {
		r, err := startRig(0, 0)
		if err != nil {
			return nil, err
		}
		defer r.stop()
		took, err := interleave(ctx, s.samples,
			func() (percentiles, error) { return r.latency(ctx, s.count) },
			func() (percentiles, error) { return channelLatency(ctx, s.count) },
		)
		if err != nil {
			return nil, err
		}
		const peer = "two Go channels"
		p50, p99 := columns(took[0])
		peer50, peer99 := columns(took[1])
		return []finding{
			{samples: p50, compare: map[string]float64{peer: median(peer50)}},
			{samples: p99, compare: map[string]float64{peer: median(peer99)}},
		}, nil
	},
}

const eventPeriod = 200 * time.Microsecond

// percentiles of one sample, in µs.
type percentiles struct{ p50, p99 float64 }

func columns(samples []percentiles) (p50, p99 []float64) {
	for _, p := range samples {
		p50 = append(p50, p.p50)
		p99 = append(p99, p.p99)
	}
	return p50, p99
}

// latency sends n events to one watcher.
func (r *rig) latency(ctx context.Context, n int) (percentiles, error) {
	ctx, cancel := context.WithTimeout(ctx, stuck+10*time.Duration(n)*eventPeriod)
	defer cancel()
	w, err := r.registry.WatchKey(ctx, "key", fanout.WithBuffer(n))
	if err != nil {
		return percentiles{}, err
	}
	defer w.Stop()
	first := r.revision + 1
	send := func() {
		r.revision++
		r.ring.Push(&fanout.Event{Op: fanout.Put, Key: "key", Revision: r.revision})
		r.ring.Flush()
	}
	receive := func() (int, error) {
		e, err := w.Next(ctx)
		if err != nil {
			return 0, err
		}
		if e.Control() {
			return 0, fmt.Errorf("events %d to %d were lost", e.PrevRevision, e.Revision)
		}
		return int(e.Revision - first), nil
	}
	return latencies(ctx, n, send, receive)
}

// channelLatency does the same with what one would write in its place: a
// channel, a goroutine that looks up who wants the event, and a channel.
func channelLatency(ctx context.Context, n int) (percentiles, error) {
	dispatch, watch := make(chan int, n), make(chan int, n)
	go func() {
		for i := range dispatch {
			watch <- i
		}
		close(watch)
	}()
	defer close(dispatch)
	sent := -1
	return latencies(ctx, n, func() { sent++; dispatch <- sent }, func() (int, error) { return <-watch, nil })
}

// latencies calls send n times and receive, on a goroutine of its own, as
// often. Receive returns which event came, counted from 0.
func latencies(ctx context.Context, n int, send func(), receive func() (int, error)) (percentiles, error) {
	sent, took := make([]time.Time, n), make([]float64, n)
	done := make(chan error, 1)
	go func() {
		for range n {
			i, err := receive()
			if err != nil {
				done <- err
				return
			}
			took[i] = float64(time.Since(sent[i]).Nanoseconds()) / 1e3
		}
		done <- nil
	}()
	tick := time.NewTicker(eventPeriod)
	defer tick.Stop()
	for i := range n {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		sent[i] = time.Now()
		send()
	}
	if err := <-done; err != nil {
		return percentiles{}, err
	}
	return percentiles{p50: quantile(took, 0.5), p99: quantile(took, 0.99)}, nil
}
