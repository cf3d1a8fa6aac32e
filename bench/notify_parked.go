package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

// notifyParked is what an event costs the write path when nothing happened for
// a while and the dispatcher is parked: a burst of 64 pays for waking it. A Go
// channel whose receiver waits pays as well. What a wake costs depends on what
// the writer does in between: one that blocks has given up its core, and finds
// the scheduler's state as it wakes up itself; one that stays has not.
var notifyParked = &measure{
	name: "notify-parked",
	figures: []figure{
		{"notify-parked-blocking", "ratio", atMost(1)},
		{"notify-parked-staying", "ratio", atMost(1)},
	},
	full: size{samples: 21, count: 300},
	tiny: size{samples: 3, count: 20},
	run: func(ctx context.Context, _ env, s size) ([]finding, error) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		r, err := startRig(0, 0)
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
		c := startReceiver()
		defer c.stop()
		arm := func(take func(int, []string, func()) (float64, error), wait func()) func() (float64, error) {
			return func() (float64, error) { return take(s.count, k, wait) }
		}
		ns, err := interleave(ctx, s.samples,
			arm(r.notifyParked, blockWhileParking), arm(c.notifyParked, blockWhileParking),
			arm(r.notifyParked, stayWhileParking), arm(c.notifyParked, stayWhileParking),
		)
		if err != nil {
			return nil, err
		}
		compare := map[string]float64{
			"blocking, ns/event":             median(ns[0]),
			"blocking, Go channel, ns/event": median(ns[1]),
			"staying, ns/event":              median(ns[2]),
			"staying, Go channel, ns/event":  median(ns[3]),
		}
		return []finding{
			{samples: ratios(ns[0], ns[1]), compare: compare},
			{samples: ratios(ns[2], ns[3]), compare: compare},
		}, nil
	},
}

// parkingPause is the least there is between bursts: time for a wake, which takes
// up to 120 µs if the writer stays on its core, for the delivery, and for the
// spin of 20 µs.
const parkingPause = 300 * time.Microsecond

func blockWhileParking() { <-time.After(parkingPause) }
func stayWhileParking()  { stayUntil(time.Now().Add(parkingPause)) }

// notifyParked times bursts as notify does, but in between it waits until the
// dispatcher has stopped to look for more.
func (r *rig) notifyParked(bursts int, keys []string, wait func()) (float64, error) {
	return parkedBursts(bursts, &r.revision, keys, wait, r.delivered, func(burst []fanout.Event) {
		for i := range burst {
			r.ring.Push(&burst[i])
		}
		r.ring.Flush()
	})
}

// receiver is what one would write in the dispatcher's place: a goroutine that
// receives from a channel, which never fills up here.
type receiver struct {
	events   chan *fanout.Event
	received atomic.Uint64 // revision
	revision uint64        // sent
	done     sync.WaitGroup
}

func startReceiver() *receiver {
	c := &receiver{events: make(chan *fanout.Event, fanout.DefaultSlots)}
	c.done.Go(func() {
		for e := range c.events {
			c.received.Store(e.Revision)
		}
	})
	return c
}

func (c *receiver) stop() {
	close(c.events)
	c.done.Wait()
}

func (c *receiver) notifyParked(bursts int, keys []string, wait func()) (float64, error) {
	return parkedBursts(bursts, &c.revision, keys, wait, c.received.Load, func(burst []fanout.Event) {
		for i := range burst {
			c.events <- &burst[i]
		}
	})
}

// parkedBursts returns what an event costs the sender in the median burst, in
// ns. Before each burst wait gives the reader the time to deliver the last one
// and park; it is not looked at meanwhile, which would slow it down.
func parkedBursts(bursts int, revision *uint64, keys []string, wait func(), delivered func() uint64, send func([]fanout.Event)) (float64, error) {
	events := make([]fanout.Event, bursts*burstSize)
	value := make([]byte, valueBytes)
	spent := make([]float64, 0, bursts)
	for len(events) > 0 {
		burst := events[:burstSize]
		events = events[burstSize:]
		begun := time.Now()
		for wait(); delivered() < *revision; wait() {
			if time.Since(begun) > stuck {
				return 0, fmt.Errorf("%w: through revision %d of %d in %v", errStuck, delivered(), *revision, stuck)
			}
		}
		makeEvents(burst, revision, keys, value)
		start := time.Now()
		send(burst)
		spent = append(spent, float64(time.Since(start).Nanoseconds()))
	}
	return median(spent) / burstSize, nil
}
