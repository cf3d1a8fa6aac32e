package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

// inprocFanout is how many events a second reach a thousand consumers, each a
// goroutine that waits in Next, with nothing lost: the next burst begins when
// everyone has all of the last one, and a buffer holds a burst.
var inprocFanout = &measure{
	name: "inproc-fanout",
	figures: []figure{
		{"inproc-fanout-1key", "/s", atLeast(15_000_000)},
		{"inproc-fanout-1key-ratio", "ratio", atLeast(1.2)},
		{"inproc-fanout-1000keys", "/s", atLeast(5_000_000)},
	},
	full: size{samples: 11, watchers: 1000, count: 64},
	tiny: size{samples: 3, watchers: 20, count: 3},
	run: func(ctx context.Context, _ env, s size) ([]finding, error) {
		r, err := startRig(0, s.watchers)
		if err != nil {
			return nil, err
		}
		defer r.stop()
		one := make([]string, s.watchers)
		for i := range one {
			one[i] = key(0)
		}
		each := keys(s.watchers)
		perSecond, err := interleave(ctx, s.samples,
			func() (float64, error) { return r.fanout(one, one[:1], burstSize, burstSize, s.count) },
			func() (float64, error) { return channelFanout(s.watchers, burstSize, s.count) },
			func() (float64, error) { return channelFanout(s.watchers, burstSize*s.count, 1) },
			func() (float64, error) { return r.fanout(each, each, perKey, perKey*len(each), s.count) },
		)
		if err != nil {
			return nil, err
		}
		peer := map[string]float64{
			"Go channels, /s":                       median(perSecond[1]),
			"Go channels, sender not held back, /s": median(perSecond[2]),
		}
		return []finding{
			{samples: perSecond[0], compare: peer},
			{samples: ratios(perSecond[0], perSecond[1]), compare: peer},
			{samples: perSecond[3]},
		}, nil
	},
}

// perKey is how many events of each of a thousand keys are in a burst: several
// wait for a consumer by the time it comes, as when all have one key.
const perKey = 8

// crowd is consumers, a goroutine each, that take bursts of so many events.
type crowd struct {
	burst   int
	missing atomic.Int64  // consumers that do not have the burst yet
	done    chan struct{} // one slot: all have it now
	err     chan error    // one slot: the first one's
	wg      sync.WaitGroup
}

func newCrowd(burst int) *crowd {
	return &crowd{burst: burst, done: make(chan struct{}, 1), err: make(chan error, 1)}
}

// join starts a consumer. It ends with an error of next, which counts only
// while bursts are sent.
func (c *crowd) join(next func() (*fanout.Event, error)) {
	c.wg.Go(func() {
		for {
			for range c.burst {
				e, err := next()
				if err == nil && e.Control() {
					err = lostError(e)
				}
				if err != nil {
					select {
					case c.err <- err:
					default:
					}
					return
				}
			}
			if c.missing.Add(-1) == 0 {
				c.done <- struct{}{}
			}
		}
	})
}

// rate sends bursts and returns the deliveries a second. A burst before them is
// not counted: with it goroutines get their stacks and watchers what they wait
// on.
func (c *crowd) rate(consumers, bursts int, send func()) (float64, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var begun time.Time
	for i := range bursts + 1 {
		if i == 1 {
			begun = time.Now()
		}
		c.missing.Store(int64(consumers))
		send()
		timer.Reset(stuck)
		select {
		case <-c.done:
		case err := <-c.err:
			return 0, err
		case <-timer.C:
			return 0, fmt.Errorf("%d of %d consumers lack events of a burst after %v", c.missing.Load(), consumers, stuck)
		}
	}
	return rate(consumers*c.burst*bursts, time.Since(begun)), nil
}

// fanout sends bursts of events of the keys, in turn, to a watcher of each of
// watched, who gets share of them.
func (r *rig) fanout(watched, keys []string, share, burst, bursts int) (perSecond float64, err error) {
	c := newCrowd(share)
	watchers := make([]*fanout.Watcher, 0, len(watched))
	defer func() {
		var dropped uint64
		for _, w := range watchers {
			dropped += w.Dropped()
			w.Stop()
		}
		c.wg.Wait()
		if dropped > 0 {
			err = errors.Join(err, fmt.Errorf("%d events were dropped", dropped))
		}
	}()
	for _, key := range watched {
		w, err := r.registry.WatchKey(context.Background(), key, fanout.WithBuffer(share))
		if err != nil {
			return 0, err
		}
		watchers = append(watchers, w)
		c.join(func() (*fanout.Event, error) { return w.Next(context.Background()) })
	}
	// Made beforehand: with a thousand keys there is an event a delivery, and
	// not what it costs to make one is of interest.
	events := make([]fanout.Event, (bursts+1)*burst)
	value := make([]byte, valueBytes)
	return c.rate(len(watched), bursts, func() {
		now := events[:burst]
		events = events[burst:]
		makeEvents(now, &r.revision, keys, value)
		for i := range now {
			r.ring.Push(&now[i])
			if (i+1)%burstSize == 0 || i == len(now)-1 {
				r.ring.Flush()
			}
		}
	})
}

var errOver = errors.New("over")

// channelFanout does the same with what one would write in its place: a channel
// for each consumer, and a goroutine that sends each event to all of them. It
// blocks where a channel is full, so that with one long burst nothing is lost
// either.
func channelFanout(consumers, burst, bursts int) (float64, error) {
	c := newCrowd(burst)
	channels := make([]chan *fanout.Event, consumers)
	for i := range channels {
		ch := make(chan *fanout.Event, burstSize)
		channels[i] = ch
		c.join(func() (*fanout.Event, error) {
			if e, ok := <-ch; ok {
				return e, nil
			}
			return nil, errOver
		})
	}
	defer func() {
		for _, ch := range channels {
			close(ch)
		}
		c.wg.Wait()
	}()
	events := make([]fanout.Event, (bursts+1)*burst)
	value := make([]byte, valueBytes)
	names := []string{key(0)}
	var revision uint64
	return c.rate(consumers, bursts, func() {
		now := events[:burst]
		events = events[burst:]
		makeEvents(now, &revision, names, value)
		for i := range now {
			for _, ch := range channels {
				ch <- &now[i]
			}
		}
	})
}
