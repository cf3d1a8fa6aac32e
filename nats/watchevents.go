package nats

import (
	"time"

	"github.com/nats-io/nats.go"
)

// What happens to a watch, and what it gives to its consumer. All of it takes moments:
// it runs on the goroutines of the client library and of the pulse.

// doubt is a reason to believe that something is missing.
type doubt struct {
	cause string
	loss  bool  // and likely so: a raw watch says it
	lost  Range // what may be missing, if that is known
	all   bool  // many watches have it at once
	ask   bool  // the leader may not be the one that was known, nor its store
}

// receive takes a published event.
func (w *Watch) receive(m *nats.Msg) {
	e, err := w.client.o.Subjects.DecodeEvent(m)
	if err != nil {
		w.client.malformed(err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Events++
	w.newest = max(w.newest, e.Revision)
	if w.err != nil || w.behind {
		return
	}
	if w.o.Raw && w.backlog.full() {
		w.missed = true
		return
	}
	news, lost, before := w.view.event(e)
	if !news {
		w.stats.Repeats++
		return
	}
	if lost != nil && (w.settled || w.o.Raw && before.revision > 0) {
		w.stats.Losses++
		if w.o.Raw {
			w.push(item{Update: Update{Kind: Lost, Key: e.Key, Range: *lost, Cause: "the event names a change before it that did not arrive"}})
		} else {
			w.raise(false)
		}
	}
	w.push(item{Update: Update{Kind: Changed, Event: e}, before: before})
	w.bound()
}

// push gives an update to the consumer. A watch that is not raw and finds no room takes
// back all that the consumer has not taken. The caller holds the lock, as of all below.
func (w *Watch) push(i item) {
	i.floor = w.view.floor
	if !w.o.Raw && w.backlog.full() {
		if i.Kind == Changed {
			w.view.set(i.Event.Key, i.before)
		}
		w.takeBack()
		w.behind = true
		w.say(Update{Kind: Stale, Cause: "the consumer did not take what was there"})
		return
	}
	w.backlog.push(i)
	poke(w.ready)
}

// takeBack makes undone what the consumer has not taken, as if it had not come.
func (w *Watch) takeBack() {
	rest := w.backlog.takeBack(w.view)
	for n := len(rest) - 1; n >= 0; n-- {
		switch rest[n].Kind {
		case Synced:
			w.synced = false
		case Stale:
			w.stale = false
		case Fresh:
			w.stale = true
		}
	}
	w.settled = false
	w.round++
	w.raise(false)
}

// say tells something about the watch, if there is room. Of a loss for which there is none
// a raw watch says so later; what is to be said of its state, tell repeats.
func (w *Watch) say(u Update) {
	if w.backlog.full() {
		w.missed = w.missed || u.Kind == Lost // only of a raw one
		return
	}
	switch u.Kind {
	case Synced:
		w.synced = true
	case Stale:
		if w.stale {
			return
		}
		w.stale = true
	case Fresh:
		w.stale = false
	}
	w.push(item{Update: u})
}

// bound keeps what is remembered of keys within its limits.
func (w *Watch) bound() {
	living, dead := w.view.living(), len(w.view.dead)
	switch {
	case living > w.o.MaxKeys && (w.o.Raw || living-w.o.MaxKeys > w.o.MaxKeys):
		w.endWith(ErrTooManyKeys)
	case living > w.o.MaxKeys:
		// Deletions may have been lost, or come behind the keys that are new. An answer
		// tells.
		if w.healed == w.doubts {
			w.raise(false)
		}
	case dead <= keptDead:
	case w.o.Raw:
		w.view.forget()
	case dead > max(2*keptDead, w.o.MaxKeys-living):
		w.view.forget()
		w.round++ // no answer counts that is on its way
		w.raise(false)
	case w.verify.After(time.Now()):
		w.verify = time.Now()
		poke(w.alarm)
	}
}

// raise lets the watch catch up; together with others at once if all.
func (w *Watch) raise(all bool) {
	w.doubts++
	w.spread = all
	poke(w.alarm)
}

// doubt tells the watch that something may be missing.
func (w *Watch) doubt(d doubt) {
	// Without the lock: what writes the line may take its time, or ask the watch something.
	w.client.o.Logger.Debug("watch is in doubt", "pattern", w.pattern, "cause", d.cause)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = ""
	if d.loss {
		w.stats.Losses++
	}
	if w.o.Raw && d.loss && (d.lost == Range{} || d.lost != w.told) {
		w.told = d.lost
		w.say(Update{Kind: Lost, Range: d.lost, Cause: d.cause})
	}
	w.ask = w.ask || d.ask
	w.raise(d.all)
}

// fall tells the watch that nothing is heard of the leader.
func (w *Watch) fall(cause string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = cause
	w.say(Update{Kind: Stale, Cause: cause})
}

// cannot tells the consumer why what is missing is not found out, of which the leader, who
// is heard, says nothing.
func (w *Watch) cannot(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unable(cause)
}

// unable is cannot for who holds the lock.
func (w *Watch) unable(cause error) {
	if w.err == nil && !w.behind {
		if w.healed == w.doubts {
			w.raise(false) // it was to verify: until it has, there is no telling that it is fresh
		}
		w.say(Update{Kind: Stale, Cause: "what is missing cannot be asked for: " + cause.Error()})
	}
}

// replaced tells the watch that there is another store in the place of the one that it
// knew, with revisions of its own.
func (w *Watch) replaced() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = ""
	w.newest = 0
	if w.o.Raw {
		w.view = newView(true)
		w.settled = false
		w.round++
		w.say(Update{Kind: Lost, Cause: "this is another cluster, or an earlier state of it"})
	} else {
		w.takeBack()
		w.view.restart()
		w.listed = false
	}
	w.raise(true)
}

// look does what has become due; it is called now and then.
func (w *Watch) look() {
	_, heard := w.client.pulse.state()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	if heard && w.silent != "" {
		w.silent = "" // a beacon came while the watches were being told of the silence
		w.raise(true)
	}
	if n, err := w.sub.Dropped(); err == nil && n > w.dropped {
		w.dropped = n
		w.stats.Losses++
		if w.o.Raw {
			w.say(Update{Kind: Lost, Cause: "the client library had no room for an event"})
		} else {
			w.raise(false)
		}
	}
	if !w.verify.IsZero() && time.Now().After(w.verify) {
		poke(w.alarm)
	}
	w.tell()
}

// tell says Synced, Stale or Fresh if that is due.
func (w *Watch) tell() {
	if w.err != nil || w.behind {
		return
	}
	if !w.synced && w.settled {
		w.say(Update{Kind: Synced, Revision: w.view.floor})
	}
	if w.silent != "" {
		w.say(Update{Kind: Stale, Cause: w.silent})
	} else if w.stale && (w.settled || w.o.Raw) && w.healed == w.doubts {
		u := Update{Kind: Fresh}
		if !w.o.Raw {
			u.Revision = w.view.floor
		}
		w.say(u)
	}
}

// roomAgain is called when the consumer has made room.
func (w *Watch) roomAgain() {
	if w.cramped {
		w.cramped = false
		poke(w.alarm)
	}
	if w.missed {
		w.missed = false
		w.stats.Losses++
		w.say(Update{Kind: Lost, Cause: "the consumer did not take what was there"})
	}
	w.tell()
}
