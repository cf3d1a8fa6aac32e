package fsm

import (
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// announcer turns what a wrapped state machine did into events. Only Raft's apply
// goroutine uses it.
//
// The ring takes revisions that grow, and so do the indexes of the entries that
// Raft applies. A snapshot that it restores lies above the last entry and below
// the next, as a rule: one that is installed or kept is of a later state, and an
// operator's gets a new index. But Raft installs again what it is sent again, and
// what comes late; then entries come that lie where the ring has been. Of these it
// tells that something changed, as [wentBack] does.
type announcer struct {
	changes func(*raft.Log, any) []Change
	ring    *fanout.Ring
	known   revisions
	losses  lossLog

	last     uint64 // highest index that it knows of; the ring has none above
	staged   bool   // something is to be flushed
	replaced bool   // a snapshot was restored, and its index is not known yet
	untold   error  // watchers are still to be told of a loss, and why
	back     wentBack
}

func newAnnouncer(changes func(*raft.Log, any) []Change, o WrapOptions, keep int) *announcer {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &announcer{
		changes: changes,
		ring:    o.Ring,
		known:   revisions{keep: keep},
		losses:  lossLog{logger: o.Logger},
	}
}

// batch announces entries that inner has applied, and what it returned for them.
func (a *announcer) batch(logs []*raft.Log, results []any) {
	if len(logs) > 0 && logs[0].Index <= a.last {
		a.below(logs, results)
		return
	}
	a.back = wentBack{}
	for i, l := range logs {
		a.entry(l, results[i])
	}
	a.flush()
}

// below announces entries that begin where the ring has been.
func (a *announcer) below(logs []*raft.Log, results []any) {
	changed := a.untold != nil
	if changed {
		a.losses.add(logs[0].Index, a.untold)
	}
	a.untold, a.replaced = nil, false // the last Reset is above the snapshot
	for i, l := range logs {
		changes, err := a.told(l, results[i])
		if err != nil {
			a.losses.add(l.Index, err)
		}
		changed = changed || err != nil || len(changes) > 0
	}
	if !changed {
		a.last = max(a.last, logs[len(logs)-1].Index)
		return
	}
	a.known.forget()
	a.back.at = a.last
	a.last = a.back.pass(logs, a.losses.logger)
	a.ring.Reset(a.last)
}

// entry stages the events of an entry that inner has applied.
func (a *announcer) entry(l *raft.Log, result any) {
	before := a.last
	a.last = l.Index
	switch {
	case a.untold != nil:
		a.lose(before+1, l, a.untold)
		a.untold, a.replaced = nil, false
		return
	case a.replaced:
		a.replaced = false
		if l.Index-1 > before {
			// Nothing is staged: this is the first entry after a restore.
			a.ring.Reset(l.Index - 1)
		}
	}
	changes, err := a.told(l, result)
	if err != nil {
		a.lose(l.Index, l, err)
		return
	}
	a.push(l, changes)
}

// told returns what an entry has changed, and why that cannot be told.
func (a *announcer) told(l *raft.Log, result any) ([]Change, error) {
	if l.Type != raft.LogCommand {
		return nil, nil
	}
	changes, err := a.ask(l, result)
	if err != nil {
		return nil, err
	}
	return changes, check(changes)
}

// ask calls the owner's function. Its panic must not become Raft's.
func (a *announcer) ask(l *raft.Log, result any) (changes []Change, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the function that tells changes panicked: %v", p)
			if a.losses.due() {
				err = fmt.Errorf("%w\n%s", err, debug.Stack())
			}
		}
	}()
	return a.changes(l, result), nil
}

// check returns why changes cannot be events.
func check(changes []Change) error {
	for i := range changes {
		c := &changes[i]
		if c.Op < fanout.Put || c.Op > fanout.Expire {
			return fmt.Errorf("the change of key %q has %v; give Put, Delete or Expire", c.Key, c.Op)
		}
		if err := fanout.CheckKey(c.Key); err != nil {
			return err
		}
	}
	return checkOnce(changes)
}

// checkOnce returns an error if a key occurs twice.
func checkOnce(changes []Change) error {
	if len(changes) < 2 {
		return nil
	}
	seen := make(map[string]struct{}, len(changes))
	for i := range changes {
		seen[changes[i].Key] = struct{}{}
	}
	if n := len(changes) - len(seen); n > 0 {
		return fmt.Errorf("%d of the %d changes of one entry are of a key that another is of; give one for each key", n, len(changes))
	}
	return nil
}

func (a *announcer) push(l *raft.Log, changes []Change) {
	at := stamp(l.AppendedAt)
	for i := range changes {
		c := &changes[i]
		e := &fanout.Event{
			Op: c.Op, Key: c.Key, Value: c.Value, PrevValue: c.PrevValue, Time: at,
			Revision: l.Index, PrevRevision: a.known.replace(c.Key, l.Index),
		}
		if c.Op != fanout.Put {
			e.Value = nil
		}
		if len(changes) > 1 {
			e.Batch, e.BatchSize = uint32(i), uint32(len(changes))
		}
		a.ring.Push(e)
		a.staged = true
	}
}

// lose tells watchers that what they watch may have changed from a revision up to
// that of l. Which keys did is not known, so of none is the last revision.
func (a *announcer) lose(from uint64, l *raft.Log, why error) {
	a.ring.Push(&fanout.Event{Op: fanout.Lagged, PrevRevision: from, Revision: l.Index, Time: stamp(l.AppendedAt)})
	a.staged = true
	a.known.forget()
	a.losses.add(l.Index, why)
}

// flush publishes what was staged.
func (a *announcer) flush() {
	if a.staged {
		a.staged = false
		a.ring.Flush()
	}
}

// restored announces that inner's state was replaced, or may be damaged.
func (a *announcer) restored(err error) {
	a.known.forget()
	if err != nil {
		// To spend a revision on a Reset now could leave none for the snapshot
		// that Raft tries next.
		a.untold = fmt.Errorf("a snapshot could not be restored: %w", err)
		return
	}
	a.untold = nil
	a.back = wentBack{}
	a.replaced = true
	a.last++
	a.ring.Reset(a.last)
}
