package main

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

// bareSlots is the least that can carry events from one goroutine to another that is
// awake: slots that one writes and the other reads, and one count. It loses nothing and
// waits for nobody, because nobody is ever behind here; it knows no revisions, bounds,
// batches or sleep. What it costs is what the two processors' caches charge.
type bareSlots struct {
	slots [1 << 16]*fanout.Event
	_     [64]byte
	head  atomic.Uint64
	_     [64]byte
	read  atomic.Uint64
	done  atomic.Bool
	sum   uint64 // of the reader, so that it looks at each event
}

// notifyBare is [rig.notify] with them.
func notifyBare(bursts int, keys []string) (cost, error) {
	b := new(bareSlots)
	var wg sync.WaitGroup
	wg.Go(b.run)
	defer wg.Wait()
	defer b.done.Store(true)
	events := make([]fanout.Event, bursts*burstSize)
	value := make([]byte, valueBytes)
	spent := make([]float64, 0, bursts)
	for pos := uint64(0); len(events) > 0; {
		burst := events[:burstSize]
		events = events[burstSize:]
		revision := pos
		makeEvents(burst, &revision, keys, value)
		start := time.Now()
		for i := range burst {
			b.slots[pos%uint64(len(b.slots))] = &burst[i]
			pos++
		}
		b.head.Store(pos)
		spent = append(spent, float64(time.Since(start).Nanoseconds()))
		for b.read.Load() < pos {
			yieldOnOneCore()
		}
		stayUntil(time.Now().Add(pause))
	}
	return cost{ns: median(spent) / burstSize}, nil
}

// run reads until it is done.
func (b *bareSlots) run() {
	for pos := uint64(0); !b.done.Load(); {
		head := b.head.Load()
		if head == pos {
			yieldOnOneCore()
			continue
		}
		for ; pos < head; pos++ {
			b.sum += b.slots[pos%uint64(len(b.slots))].Revision
		}
		b.read.Store(pos)
	}
}
