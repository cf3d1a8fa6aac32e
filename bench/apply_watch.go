package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
)

// applyWatch is what the watch costs where commands are applied: batches of 64
// puts on a state machine that announces its changes, divided by the same on one
// that has no ring. All make the event. Once it is looked for whom each change is,
// for the sake of a watcher of another key; once the dispatcher rests, because nobody
// watches.
//
// A share of a percent is at stake, less than where in memory a machine happens
// to lie makes out. So each round has machines of its own, filled in turn and
// made in alternating order, and takes short blocks of all in random order: what ran
// just before makes out a fifth (with any fixed order one arm was that much cheaper).
var applyWatch = &measure{
	name: "apply-watch",
	figures: []figure{
		{"apply-watch-watched", "ratio", atMost(1.01)},
		{"apply-watch-unwatched", "ratio", atMost(1.01)},
	},
	full: size{samples: 61, count: 200},
	tiny: size{samples: 3, count: 5},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		keys := applyKeys
		if e.tiny {
			keys /= 100
		}
		commands := applyCommands(keys)
		var costs [applyArms][]applyCost
		for round := range s.samples {
			c, err := applyRound(ctx, commands, s.count, round)
			if err != nil {
				return nil, err
			}
			for i := range c {
				costs[i] = append(costs[i], c[i])
			}
		}
		found := make([]finding, 0, 2)
		for _, arm := range []int{applyWatched, applyUnwatched} {
			var on, off, first, later []float64
			for i, c := range costs[arm] {
				none := costs[applyOff][i]
				on = append(on, c.block)
				off = append(off, none.block)
				first = append(first, c.first/none.first)
				later = append(later, c.later/none.later)
			}
			r := ratios(on, off)
			found = append(found, finding{samples: r, compare: map[string]float64{
				"ns/put, on":           median(on),
				"ns/put, off":          median(off),
				"ratio, first batch":   median(first),
				"ratio, later batches": median(later),
				"ratio, quartile 1":    quantile(r, 0.25),
				"ratio, quartile 3":    quantile(r, 0.75),
			}})
		}
		return found, nil
	},
}

// The arms.
const (
	applyOff = iota
	applyUnwatched
	applyWatched
	applyArms
)

const (
	applyKeys    = 100_000
	applyBatches = 16                     // in a block, one right after the other
	applyPause   = 100 * time.Microsecond // after a block: the dispatcher is parked by then
)

// applyCost is what a put costs, in ns: in the median block, and in its median
// first and later batch. The first one finds the dispatcher parked.
type applyCost struct{ block, first, later float64 }

// applyRound measures the arms, beginning with another one each round.
func applyRound(ctx context.Context, commands [][]byte, blocks, round int) (c [applyArms]applyCost, err error) {
	var arms [applyArms]*applier
	order := make([]int, 0, applyArms)
	for i := range arms {
		order = append(order, (i+round)%applyArms)
	}
	for _, i := range order {
		if arms[i], err = newApplier(i, commands); err != nil {
			return c, err
		}
		defer arms[i].stop()
	}
	// Every key once; as many events fill the ring, so that from then on each
	// evicts one.
	for n := 0; n < len(commands); n += burstSize {
		for _, i := range order {
			arms[i].batch()
			if err := arms[i].awaitDelivered(); err != nil {
				return c, err
			}
		}
	}
	if err := settle(ctx); err != nil {
		return c, err
	}
	var spent [applyArms]struct{ block, first, later []float64 }
	for range blocks {
		for _, i := range order {
			var took [applyBatches]float64
			begun := time.Now()
			for j := range took {
				arms[i].batch()
				now := time.Now()
				took[j] = float64(now.Sub(begun).Nanoseconds()) / burstSize
				begun = now
			}
			if err := arms[i].awaitDelivered(); err != nil {
				return c, err
			}
			stayUntil(time.Now().Add(applyPause))
			sum := 0.0
			for _, t := range took {
				sum += t
			}
			s := &spent[i]
			s.block = append(s.block, sum/applyBatches)
			s.first = append(s.first, took[0])
			s.later = append(s.later, took[1:]...)
		}
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	for i, s := range spent {
		c[i] = applyCost{block: median(s.block), first: median(s.first), later: median(s.later)}
	}
	for i, a := range arms {
		if err := a.check(); err != nil {
			return c, fmt.Errorf("arm %d: %w", i, err)
		}
	}
	return c, nil
}

// applier is Raft's apply goroutine and its state machine.
type applier struct {
	rig      *rig // nil with the watch off
	machine  *fsm.FSM
	commands [][]byte // applied in turn
	logs     []*raft.Log
	last     uint64 // index
}

func newApplier(arm int, commands [][]byte) (_ *applier, err error) {
	a := &applier{commands: commands, logs: make([]*raft.Log, burstSize)}
	var ring *fanout.Ring
	if arm != applyOff {
		if a.rig, err = startRig(0, 0); err != nil {
			return nil, err
		}
		if ring = a.rig.ring; arm == applyUnwatched {
			a.rig.idle.Stop()
		}
	}
	a.machine = fsm.New(fsm.Options{Ring: ring})
	now := time.Now()
	for i := range a.logs {
		a.logs[i] = &raft.Log{AppendedAt: now}
	}
	// It makes no event, and the rig counts from 1 on.
	start := fsm.Command{Op: fsm.CommandInit, Cluster: fsm.Cluster{ID: "bench", MaxValueBytes: valueBytes}}
	if err := applied(a.machine.Apply(&raft.Log{Index: 0, Data: start.Append(nil)})); err != nil {
		a.stop()
		return nil, err
	}
	return a, nil
}

func (a *applier) stop() {
	if a.rig != nil {
		a.rig.stop()
	}
}

func (a *applier) awaitDelivered() error {
	if a.rig == nil {
		return nil
	}
	a.rig.revision = a.last
	return a.rig.awaitDelivered()
}

// batch applies 64 commands.
func (a *applier) batch() {
	for _, l := range a.logs {
		l.Data = a.commands[a.last%uint64(len(a.commands))]
		a.last++
		l.Index = a.last
	}
	a.machine.ApplyBatch(a.logs)
}

// check sees to it that puts were what was measured.
func (a *applier) check() error {
	if n := a.machine.Len(); n != len(a.commands) {
		return fmt.Errorf("there are %d keys of %d", n, len(a.commands))
	}
	if revision := a.machine.Revision(); revision != a.last {
		return fmt.Errorf("the machine is at revision %d, not %d", revision, a.last)
	}
	return applied(a.machine.Apply(&raft.Log{Index: a.last + 1, Data: a.commands[0]}))
}

func applied(response any) error { return response.(fsm.Result).Err }

// applyCommands returns a put of each of n keys, in random order.
func applyCommands(n int) [][]byte {
	commands := make([][]byte, n)
	for i := range commands {
		commands[i] = fsm.Command{Op: fsm.CommandPut, Key: key(i), Value: make([]byte, valueBytes)}.Append(nil)
	}
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(n, func(i, j int) { commands[i], commands[j] = commands[j], commands[i] })
	return commands
}
