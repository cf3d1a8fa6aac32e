package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
)

// applyWatch is what the watch costs where commands are applied: batches of 64
// puts on a state machine that announces its changes, to a dispatcher without
// watchers, divided by the same on one that has no ring. Both make the event.
//
// A share of a percent is at stake, less than where in memory a machine happens
// to lie makes out. So each round has machines of its own, filled in turn and
// made in alternating order, and takes short blocks of both in turn.
var applyWatch = &measure{
	name:    "apply-watch",
	figures: []figure{{"apply-watch", "ratio", atMost(1.01)}},
	full:    size{samples: 25, count: 200},
	tiny:    size{samples: 3, count: 5},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		keys := applyKeys
		if e.tiny {
			keys /= 100
		}
		commands := applyCommands(keys)
		var on, off, first, later []float64
		for round := range s.samples {
			c, err := applyRound(ctx, commands, s.count, round%2 == 0)
			if err != nil {
				return nil, err
			}
			on = append(on, c[1].block)
			off = append(off, c[0].block)
			first = append(first, c[1].first/c[0].first)
			later = append(later, c[1].later/c[0].later)
		}
		r := ratios(on, off)
		return []finding{{samples: r, compare: map[string]float64{
			"ns/put, on":           median(on),
			"ns/put, off":          median(off),
			"ratio, first batch":   median(first),
			"ratio, later batches": median(later),
			"ratio, quartile 1":    quantile(r, 0.25),
			"ratio, quartile 3":    quantile(r, 0.75),
		}}}, nil
	},
}

const (
	applyKeys    = 100_000
	applyBatches = 16                     // in a block, one right after the other
	applyPause   = 100 * time.Microsecond // after a block: the dispatcher is parked by then
)

// applyCost is what a put costs, in ns: in the median block, and in its median
// first and later batch. The first one finds the dispatcher parked.
type applyCost struct{ block, first, later float64 }

// applyRound measures both arms, 0 off and 1 on.
func applyRound(ctx context.Context, commands [][]byte, blocks int, onFirst bool) (c [2]applyCost, err error) {
	r, err := startRig(0, 0)
	if err != nil {
		return c, err
	}
	defer r.stop()
	var arms [2]*applier
	order := []int{0, 1}
	if onFirst {
		slices.Reverse(order)
	}
	for _, i := range order {
		ring := r.ring
		if i == 0 {
			ring = nil
		}
		if arms[i], err = newApplier(ring, commands); err != nil {
			return c, err
		}
	}
	// Every key once; as many events fill the ring, so that from then on each
	// evicts one.
	for n := 0; n < len(commands); n += burstSize {
		for _, i := range order {
			arms[i].batch()
		}
		r.revision = arms[1].last
		if err := r.awaitDelivered(); err != nil {
			return c, err
		}
	}
	if err := settle(ctx); err != nil {
		return c, err
	}
	var spent [2]struct{ block, first, later []float64 }
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
			r.revision = arms[1].last
			if err := r.awaitDelivered(); err != nil {
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
		slices.Reverse(order)
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
	machine  *fsm.FSM
	commands [][]byte // applied in turn
	logs     []*raft.Log
	last     uint64 // index
}

func newApplier(ring *fanout.Ring, commands [][]byte) (*applier, error) {
	machine, err := fsm.New(fsm.Options{Ring: ring})
	if err != nil {
		return nil, err
	}
	a := &applier{machine: machine, commands: commands, logs: make([]*raft.Log, burstSize)}
	now := time.Now()
	for i := range a.logs {
		a.logs[i] = &raft.Log{AppendedAt: now}
	}
	// It makes no event, and the rig counts from 1 on.
	start := fsm.Command{Op: fsm.CommandInit, Cluster: fsm.Cluster{ID: "bench", MaxValueBytes: valueBytes}}
	return a, applied(machine.Apply(&raft.Log{Index: 0, Data: start.Append(nil)}))
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
