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
			func() (percentiles, error) { return percentilesOf(r.latency(ctx, s.count, block)) },
			func() (percentiles, error) { return percentilesOf(channelLatency(ctx, s.count, block)) },
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

func percentilesOf(took []float64, err error) (percentiles, error) {
	if err != nil {
		return percentiles{}, err
	}
	return percentiles{p50: quantile(took, 0.5), p99: quantile(took, 0.99)}, nil
}

func columns(samples []percentiles) (p50, p99 []float64) {
	for _, p := range samples {
		p50 = append(p50, p.p50)
		p99 = append(p99, p.p99)
	}
	return p50, p99
}

// pace returns what waits until the next event is due, one every eventPeriod,
// and what ends that.
type pace func(context.Context) (wait, stop func())

// block waits for a channel, so that others have the core. While the process is
// idle Go waits for timers in whole milliseconds, so on Linux most events come
// later than they are due: about one a millisecond.
func block(ctx context.Context) (wait, stop func()) {
	tick := time.NewTicker(eventPeriod)
	return func() {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}, tick.Stop
}

// stay keeps its core. Like a ticker it does not make up for a late event.
func stay(context.Context) (wait, stop func()) {
	due := time.Now()
	return func() {
		due = due.Add(eventPeriod)
		if now := time.Now(); due.Before(now) {
			due = now
		}
		stayUntil(due)
	}, func() {}
}

const latencyKey = "key"

// latency sends n events to one watcher and returns how long each took, in µs.
func (r *rig) latency(ctx context.Context, n int, p pace) ([]float64, error) {
	return r.latencyBeside(ctx, n, p, nil, 0)
}

// latencyBeside does that with so many events of the other keys, in turn, in
// the same batch, before the one that is timed. They are staged before its time
// is taken.
func (r *rig) latencyBeside(ctx context.Context, n int, p pace, others []string, batch int) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, stuck+10*time.Duration(n)*eventPeriod)
	defer cancel()
	w, err := r.registry.WatchKey(ctx, latencyKey, fanout.WithBuffer(n))
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	before := r.revision
	batched := func(ctx context.Context) (wait, stop func()) {
		due, stop := p(ctx)
		next := 0
		return func() {
			due()
			for range batch {
				r.put(others[next%len(others)], nil)
				next++
			}
		}, stop
	}
	send := func() {
		r.put(latencyKey, nil)
		r.ring.Flush()
	}
	receive := func() (int, error) {
		e, err := w.Next(ctx)
		if err != nil {
			return 0, err
		}
		if e.Control() {
			return 0, lostError(e)
		}
		return int(e.Revision-before)/(batch+1) - 1, nil
	}
	return latencies(ctx, n, batched, send, receive)
}

func lostError(e *fanout.Event) error {
	return fmt.Errorf("events %d to %d were lost", e.PrevRevision, e.Revision)
}

// channelLatency does the same with what one would write in its place: a
// channel, a goroutine that looks up who wants the event, and a channel.
func channelLatency(ctx context.Context, n int, p pace) ([]float64, error) {
	dispatch, watch := make(chan int, n), make(chan int, n)
	go func() {
		for i := range dispatch {
			watch <- i
		}
		close(watch)
	}()
	defer close(dispatch)
	sent := -1
	return latencies(ctx, n, p, func() { sent++; dispatch <- sent }, func() (int, error) { return <-watch, nil })
}

// latencies calls send n times, each when it is due, and receive, on a
// goroutine of its own, as often. Receive returns which event came, counted
// from 0. The times are in µs.
func latencies(ctx context.Context, n int, p pace, send func(), receive func() (int, error)) ([]float64, error) {
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
	wait, stop := p(ctx)
	defer stop()
	for i := range n {
		wait()
		sent[i] = time.Now()
		send()
	}
	return took, <-done
}
