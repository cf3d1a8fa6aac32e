package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

// rig is a fan-out on its own. The goroutine of the measure is its producer, as
// Raft's apply goroutine is that of a node.
type rig struct {
	ring       *fanout.Ring
	registry   *fanout.Registry
	dispatcher *fanout.Dispatcher
	revision   uint64
	stop       func()
}

// startRig starts a dispatcher that spins so long before it parks; 0 for its
// default. It takes twice the watchers said, for churn.
func startRig(spin time.Duration, watchers int) (*rig, error) {
	ring, err := fanout.NewRing(fanout.RingOptions{})
	if err != nil {
		return nil, err
	}
	registry, err := fanout.NewRegistry(fanout.RegistryOptions{MaxWatchers: 2*watchers + 1})
	if err != nil {
		return nil, err
	}
	dispatcher, err := fanout.NewDispatcher(ring, registry, fanout.DispatcherOptions{Spin: spin})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { dispatcher.Run(ctx) }) // its only error is that it was stopped
	return &rig{ring: ring, registry: registry, dispatcher: dispatcher, stop: func() { cancel(); wg.Wait() }}, nil
}

// watch registers a watcher of each key. Only what it returns keeps them.
func (r *rig) watch(keys []string) ([]*fanout.Watcher, error) {
	watchers := make([]*fanout.Watcher, len(keys))
	for i, key := range keys {
		var err error
		if watchers[i], err = r.registry.WatchKey(context.Background(), key); err != nil {
			return nil, err
		}
	}
	return watchers, nil
}

const (
	burstSize = 64                   // puts that Raft applies in one batch, say
	awakeSpin = time.Millisecond     // long against the pauses
	pause     = 5 * time.Microsecond // after a burst was delivered: the dispatcher spins by then
	stuck     = 10 * time.Second     // for one burst
)

var errStuck = errors.New("the dispatcher does not deliver")

// cost is what bursts of events cost the producer.
type cost struct {
	ns     float64 // an event, in the median burst
	allocs uint64  // of all goroutines together, all events
}

// notify pushes and flushes bursts of events of the keys, in turn, and times
// that alone. Before the next burst the dispatcher has delivered the last one
// and is looking for more. As in a state machine, events have just been made
// when they are pushed. Of the bursts the median counts: a neighbour that takes
// a core away for a moment takes as long as ten thousand of them.
func (r *rig) notify(bursts int, keys []string) (c cost, err error) {
	events := make([]fanout.Event, bursts*burstSize)
	value := make([]byte, 100)
	var before, after runtime.MemStats
	spent := make([]float64, 0, bursts)
	runtime.ReadMemStats(&before)
	for len(events) > 0 {
		burst := events[:burstSize]
		events = events[burstSize:]
		for i := range burst {
			r.revision++
			burst[i] = fanout.Event{Op: fanout.Put, Key: keys[r.revision%uint64(len(keys))], Value: value, Revision: r.revision}
		}
		start := time.Now()
		for i := range burst {
			r.ring.Push(&burst[i])
		}
		r.ring.Flush()
		spent = append(spent, float64(time.Since(start).Nanoseconds()))
		if err := r.awaitDelivered(); err != nil {
			return cost{}, err
		}
	}
	runtime.ReadMemStats(&after)
	return cost{
		ns:     median(spent) / burstSize,
		allocs: after.Mallocs - before.Mallocs,
	}, nil
}

// awaitDelivered stays on its core: a producer that parks would change hands
// with the dispatcher.
func (r *rig) awaitDelivered() error {
	begun := time.Now()
	for r.dispatcher.Revision() < r.revision {
		if runtime.GOMAXPROCS(0) == 1 {
			runtime.Gosched()
		}
		if time.Since(begun) > stuck {
			return fmt.Errorf("%w: it is at revision %d of %d after %v", errStuck, r.dispatcher.Revision(), r.revision, stuck)
		}
	}
	for end := time.Now().Add(pause); time.Now().Before(end); {
	}
	return nil
}

// fill pushes as many events as the ring holds, so that from then on each push
// evicts one, as in a node that has been running for a while.
func (r *rig) fill(keys []string) error {
	_, err := r.notify(fanout.DefaultSlots/burstSize, keys)
	return err
}

// keys returns n different keys of 18 bytes.
func keys(n int) []string {
	k := make([]string, n)
	for i := range k {
		k[i] = key(i)
	}
	return k
}

func key(i int) string { return fmt.Sprintf("services/%09d", i) }
