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
	revision   uint64 // of the newest event; one event each, from 1 on
	stop       func()

	idle *fanout.Watcher // of a key that does not change: without watchers the dispatcher rests
	all  *fanout.Watcher // of everything, in some measures
}

// startRig starts a dispatcher that spins so long before it parks; 0 for its
// default. It takes twice the watchers said, for churn.
func startRig(spin time.Duration, watchers int) (*rig, error) {
	ring, err := fanout.NewRing(fanout.RingOptions{})
	if err != nil {
		return nil, err
	}
	registry, err := fanout.NewRegistry(fanout.RegistryOptions{MaxWatchers: 2*watchers + 3})
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
	r := &rig{ring: ring, registry: registry, dispatcher: dispatcher, stop: func() { cancel(); wg.Wait() }}
	if r.idle, err = registry.WatchKey(ctx, "idle"); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

// delivered returns the revision through which the dispatcher has delivered.
// Measures ask in loops, so it must stay cheap.
func (r *rig) delivered() uint64 { return r.dispatcher.Revision() }

// watchAll has a watcher of everything, from which nobody reads. Without one, what is
// for nobody would not wake the dispatcher, and what a wake costs would not be measured.
func (r *rig) watchAll() (err error) {
	r.all, err = r.registry.Watch(context.Background(), ">")
	return err
}

// put stages an event.
func (r *rig) put(key string, value []byte) {
	r.revision++
	r.ring.Push(&fanout.Event{Op: fanout.Put, Key: key, Value: value, Revision: r.revision})
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

// publish publishes n events of keys given by their number, and has them
// delivered.
func (r *rig) publish(n int, key func(int) string) error {
	for i := range n {
		r.put(key(i), nil)
		if (i+1)%burstSize == 0 || i == n-1 {
			r.ring.Flush()
			if err := r.awaitDelivered(); err != nil {
				return err
			}
		}
	}
	return nil
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
	value := make([]byte, valueBytes)
	var before, after runtime.MemStats
	spent := make([]float64, 0, bursts)
	runtime.ReadMemStats(&before)
	for len(events) > 0 {
		burst := events[:burstSize]
		events = events[burstSize:]
		makeEvents(burst, &r.revision, keys, value)
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

// makeEvents makes the events after a revision, of the keys in turn.
func makeEvents(events []fanout.Event, revision *uint64, keys []string, value []byte) {
	for i := range events {
		*revision++
		events[i] = fanout.Event{Op: fanout.Put, Key: keys[*revision%uint64(len(keys))], Value: value, Revision: *revision}
	}
}

// awaitDelivered stays on its core: a producer that parks would change hands
// with the dispatcher.
func (r *rig) awaitDelivered() error {
	begun := time.Now()
	for r.delivered() < r.revision {
		yieldOnOneCore()
		if time.Since(begun) > stuck {
			return r.stuck()
		}
	}
	stayUntil(time.Now().Add(pause))
	return nil
}

func (r *rig) stuck() error {
	return fmt.Errorf("%w: through revision %d of %d in %v", errStuck, r.delivered(), r.revision, stuck)
}

// stayUntil waits without leaving its core.
func stayUntil(end time.Time) {
	for time.Now().Before(end) {
		yieldOnOneCore()
	}
}

// yieldOnOneCore lets others run where staying on the core would stop them.
func yieldOnOneCore() {
	if runtime.GOMAXPROCS(0) == 1 {
		runtime.Gosched()
	}
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
