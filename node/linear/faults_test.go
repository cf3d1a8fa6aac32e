package linear

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// faults breaks one thing after the other and mends it again.
type faults struct {
	t       *testing.T
	cluster cluster
	net     *network
	rng     *rand.Rand
	counts  map[string]int
}

// run goes on until ctx ends, and leaves nothing broken.
func (f *faults) run(ctx context.Context) {
	f.counts = make(map[string]int)
	for f.wait(ctx, 0, electionTimeout/2) {
		victim := f.cluster.leader()
		if victim < 0 || f.rng.IntN(4) == 0 {
			victim = f.rng.IntN(size)
		}
		name, mend := f.fault(victim)
		f.counts[name]++
		// Mostly for longer than it takes the others to elect another leader.
		f.wait(ctx, electionTimeout/2, 4*electionTimeout)
		mend()
	}
}

// fault breaks something about a node, and returns what it is and how to mend it.
func (f *faults) fault(victim int) (name string, mend func()) {
	deliver := f.rng.IntN(2) == 0
	heal := func() { f.net.heal(deliver) }
	other := (victim + 1 + f.rng.IntN(size-1)) % size
	switch f.rng.IntN(7) {
	case 0:
		f.each(victim, func(i int) { f.net.cut(victim, i); f.net.cut(i, victim) })
		return "isolated", heal
	case 1:
		f.each(victim, func(i int) { f.net.cut(victim, i) })
		return "not heard", heal
	case 2:
		f.each(victim, func(i int) { f.net.cut(i, victim) })
		return "deaf", heal
	case 3:
		f.net.cut(victim, other)
		f.net.cut(other, victim)
		return "one link cut", heal
	case 4, 5:
		if f.cluster.pause(victim) {
			return "paused", func() { f.cluster.resume(victim) }
		}
		f.each(victim, func(i int) { f.net.cut(i, victim) })
		return "deaf", heal
	default:
		f.cluster.kill(victim)
		return "killed", func() {
			heal()
			f.cluster.restart(victim)
		}
	}
}

func (f *faults) each(victim int, do func(i int)) {
	for i := range size {
		if i != victim {
			do(i)
		}
	}
}

// wait lets a random time pass; false once ctx has ended.
func (f *faults) wait(ctx context.Context, least, most time.Duration) bool {
	select {
	case <-time.After(least + time.Duration(f.rng.Int64N(int64(most-least)))):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (f *faults) String() string { return fmt.Sprint(f.counts) }
