package nats

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

const (
	// spreadTime is over how long watches that have the same doubt ask the leader.
	spreadTime = 2 * time.Second

	// soon is when a watch looks again after it has caught up: what was published
	// while its subscription was still making its way between the brokers is covered
	// by two beacons then.
	soon = 2*BeaconPeriod + BeaconPeriod/4

	leastPause = 50 * time.Millisecond // between two times of catching up
	mostPause  = 2 * time.Second
)

// errBehind ends catching up because the backlog was taken back meanwhile, or all begun
// anew.
var errBehind = errors.New("nats: the consumer is behind")

// task is to catch up.
type task struct {
	doubts uint64 // that it resolves
	round  uint64 // of the watch; what was asked for in another one is void
	first  bool
	spread bool
	list   bool // else since floor
	floor  uint64
	ask    bool   // raw: for where the leader stands
	newest uint64 // revision that is there: an answer from below is that of another store
}

// run catches up whenever there is a reason, until ctx ends or the watch does.
func (w *Watch) run(ctx context.Context) {
	pause := leastPause
	var failing time.Time // since when; zero if the last time did not
	for ctx.Err() == nil {
		t, due := w.await(ctx)
		if !due {
			continue
		}
		began := time.Now()
		revision, healed, err := w.catchUp(ctx, t)
		w.turn.leave()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			w.caughtUp(t, revision, healed)
			w.turn.places = w.client.turns.usual
			pause, failing = leastPause, time.Time{}
		case errors.Is(err, errBehind):
		case final(err):
			w.fail(err)
			return
		default:
			w.client.o.Logger.Debug("watch cannot catch up yet", "pattern", w.pattern, "error", err)
			if failing.IsZero() {
				failing = began
			}
			if time.Since(failing) > silence {
				w.cannot(err)
			}
			w.turn.places = w.client.turns.late
			pause = min(2*pause, mostPause)
		}
		wait(ctx, pause/2+rand.N(pause/2))
	}
}

// await returns what is to be done once that is due, and it is the watch's turn, or false to be
// called again.
func (w *Watch) await(ctx context.Context) (t task, due bool) {
	if t, due = w.task(time.Now()); !due {
		select {
		case <-w.alarm:
		case <-ctx.Done():
		}
		return t, false
	}
	if t.spread {
		wait(ctx, rand.N(spreadTime))
	}
	if !w.o.Raw && w.takeTurn(ctx) != nil {
		return t, false
	}
	// It resolves what came meanwhile, too. But if the consumer has fallen behind, what
	// comes now is dropped, so there is nothing to be done until it is back.
	if t, due = w.task(time.Now()); !due {
		w.turn.leave()
	}
	return t, due
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// final says of an error whether there is no point in trying again.
func final(err error) bool {
	return errors.Is(err, &Error{Code: CodeBadRequest}) || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrPermissionViolation)
}

// task returns what is to be done, and whether anything is.
func (w *Watch) task(now time.Time) (t task, due bool) {
	published, heard := w.client.pulse.state()
	w.mu.Lock()
	defer w.mu.Unlock()
	t = task{doubts: w.doubts, round: w.round, first: w.healed == 0, list: !w.listed, floor: w.view.floor}
	t.ask, t.newest = w.ask || !w.settled, max(w.newest, w.view.floor)
	switch {
	case w.behind || w.err != nil:
		return t, false
	case w.doubts != w.healed:
		t.spread = w.spread && !t.first
		return t, true
	case w.verify.IsZero() || now.Before(w.verify):
		return t, false
	case heard && published <= w.view.floor && len(w.view.dead) == 0:
		w.verify = now.Add(w.interval())
		return t, false // nothing was published since
	}
	return t, true
}

// interval is the time to the next verification.
func (w *Watch) interval() time.Duration {
	d := w.client.o.Verify
	return d - d/5 + rand.N(2*d/5)
}

// catchUp asks the leader for what is missing and gives it to the consumer. It returns
// through which revision nothing is, and how many changes had been.
func (w *Watch) catchUp(ctx context.Context, t task) (revision uint64, healed int, err error) {
	if w.o.Raw {
		if !t.ask {
			return 0, 0, nil
		}
		revision, err = inTime(w, w.noAnswer, func() (uint64, error) { return w.client.revision(ctx, w.pattern) })
		if errors.Is(err, nats.ErrPermissionViolation) {
			return 0, 0, nil // then a loss shows only where something of the key was seen before
		}
		if err == nil {
			err = w.plausible(t, revision)
		}
		return revision, 0, err
	}
	var l *Changes
	if !t.list {
		l, err = inTime(w, w.noAnswer, func() (*Changes, error) { return w.client.Since(ctx, w.pattern, t.floor) })
		t.list = errors.Is(err, &Error{Code: CodeGone})
	}
	if t.list {
		l, err = inTime(w, w.noAnswer, func() (*Changes, error) { return w.client.List(ctx, w.pattern) })
	}
	if err != nil {
		return 0, 0, err
	}
	defer l.Close()
	if err := w.plausible(t, l.revision); err != nil {
		return 0, 0, err
	}
	if err := w.begin(t); err != nil {
		return 0, 0, err
	}
	for !l.last {
		m, err := inTime(w, w.noAnswer, l.chunk)
		if err != nil {
			return 0, healed, err
		}
		n, err := w.apply(ctx, t, m, l.revision)
		if healed += n; err != nil {
			return 0, healed, err
		}
		l.took(m)
	}
	if t.list {
		n, err := w.unlist(ctx, t, l.revision)
		if healed += n; err != nil {
			return 0, healed, err
		}
	}
	return l.revision, healed, nil
}

// plausible begins anew if the leader, asked behind something that it had done, has not
// done it. Then somebody has put back the files of an earlier time. Nothing shows that
// once it has done as much again.
func (w *Watch) plausible(t task, revision uint64) error {
	if revision >= t.newest {
		return nil
	}
	w.replaced()
	return errBehind
}

// begin starts to take an answer.
func (w *Watch) begin(t task) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.round != t.round {
		return errBehind
	}
	if t.list {
		w.listed = false
		w.view.beginList()
	}
	return nil
}

// room waits until the consumer has taken most of what is there. Meanwhile it is the turn of
// others.
func (w *Watch) room(ctx context.Context, t task) error {
	w.turn.leave()
	if err := w.awaitRoom(ctx, t); err != nil {
		return err
	}
	return w.takeTurn(ctx)
}

// awaitRoom is room, whoever's turn it is.
func (w *Watch) awaitRoom(ctx context.Context, t task) error {
	for {
		w.mu.Lock()
		roomy, void := w.backlog.roomy(), w.round != t.round
		w.cramped = !roomy && !void
		w.mu.Unlock()
		switch {
		case void:
			return errBehind
		case roomy:
			return nil
		}
		select {
		case <-w.alarm:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// apply takes a chunk of an answer, as there is room.
func (w *Watch) apply(ctx context.Context, t task, m *nats.Msg, revision uint64) (healed int, err error) {
	for c, err := range parseChanges(m.Data) {
		if err != nil {
			return healed, err
		}
		if healed, err = w.inRoom(ctx, t, healed, func() (bool, error) { return w.applyOne(t, c, revision) }); err != nil {
			return healed, err
		}
	}
	return healed, nil
}

// inRoom does something that may give a change, when there is room, and counts it.
func (w *Watch) inRoom(ctx context.Context, t task, healed int, do func() (news bool, err error)) (int, error) {
	news, err := do()
	for err == errFull {
		if err = w.room(ctx, t); err == nil {
			news, err = do()
		}
	}
	if news {
		healed++
	}
	return healed, err
}

// errFull says that there is no room for a change.
var errFull = errors.New("nats: the backlog is full")

func (w *Watch) applyOne(t task, c Change, revision uint64) (news bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.round != t.round || w.err != nil:
		return false, errBehind
	case w.backlog.full():
		return false, errFull
	}
	var before known
	if t.list {
		news, before = w.view.listed(c, revision)
	} else {
		news, before = w.view.change(c)
	}
	if news {
		w.push(item{Update: Update{Kind: Changed, Event: c.event(before), Asked: true}, before: before})
	}
	w.bound()
	return news, nil
}

// event returns the change as an event behind the one that the watch has seen of the
// key.
func (c Change) event(before known) *fanout.Event {
	e := &fanout.Event{Op: c.Op, Key: c.Key, Value: c.Value, Revision: c.Revision, Time: c.Time}
	if before.revision < c.Revision {
		e.PrevRevision = before.revision
	}
	return e
}

// unlist gives the deletions that a list shows by what it has not.
func (w *Watch) unlist(ctx context.Context, t task, revision uint64) (healed int, err error) {
	w.mu.Lock()
	var keys []string
	if w.round == t.round {
		keys = w.view.unlisted(revision)
	}
	w.mu.Unlock()
	for _, key := range keys {
		if healed, err = w.inRoom(ctx, t, healed, func() (bool, error) { return w.unlistOne(t, key, revision) }); err != nil {
			return healed, err
		}
	}
	return healed, nil
}

func (w *Watch) unlistOne(t task, key string, revision uint64) (news bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.view.keys[key]
	switch {
	case w.round != t.round || w.err != nil:
		return false, errBehind
	case !k.alive || k.revision > revision:
		return false, nil // it has changed meanwhile
	case w.backlog.full():
		return false, errFull
	}
	c := Change{Op: fanout.Delete, Key: key, Revision: revision}
	before := w.view.set(key, known{revision: revision})
	w.push(item{Update: Update{Kind: Changed, Event: c.event(before), Asked: true}, before: before})
	return true, nil
}

// caughtUp notes that everything up to revision is known.
func (w *Watch) caughtUp(t task, revision uint64, healed int) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.CatchUps++
	if w.round != t.round {
		return
	}
	if w.o.Raw {
		w.ask = w.ask && w.doubts != t.doubts
		if !w.settled && revision > 0 {
			w.view.settle(revision, revision)
			w.settled = true
		}
	} else {
		if !t.first {
			w.stats.Healed += uint64(healed)
		}
		w.listed = true
		w.verify = now.Add(w.interval())
		if t.doubts != w.healed || healed > 0 {
			w.verify = now.Add(soon + rand.N(BeaconPeriod/4))
		}
		if !w.view.settle(revision, w.backlog.least(revision)) {
			w.raise(false)
		}
		w.settled = true
		w.count(revision)
	}
	w.healed = t.doubts
	w.tell()
}

// count ends the watch if there were more living keys at a revision, up to which everything
// is known, than it may have. If there are now, by what came meanwhile, it asks again.
func (w *Watch) count(revision uint64) {
	switch {
	case w.view.living() <= w.o.MaxKeys:
	case w.view.livingAt(revision) > w.o.MaxKeys:
		w.endWith(ErrTooManyKeys)
	default:
		w.raise(false)
	}
}
