// Package fanout delivers the changes of a replicated state machine to any
// number of watchers without ever holding up the machine.
//
//	state machine ─ Push, Flush ─▶ Ring ─▶ Dispatcher ─▶ Registry ─▶ Watchers
//	                                 └───▶ Cursors of other readers
//
// It stands alone: whoever has one goroutine that makes changes can use it, and
// whoever has several, through a [Front].
//
// # What a caller may rely on
//
//   - Writes are never delayed. [Ring.Push] and [Ring.Flush] take no lock and
//     wait for nobody, however many watchers there are and however stuck they
//     may be. What does not fit is lost. While nobody watches, the dispatcher
//     rests, and they do not even wake it.
//   - Order. A watcher receives events in revision order, each at most once.
//   - Loss is told, exactly and in place. Where a watcher lost events it
//     receives one [Lagged] event with the range of revisions, before the next
//     event and also if no further event comes. A change in that range was
//     applied before the marker could be received, so a read made afterwards
//     includes it.
//   - Batches are whole. The events of one revision are received together or
//     lost together, up to the size of a watcher's buffer.
//   - Watchers do not affect each other. A slow, stuck or abandoned one costs
//     its own buffer and nothing else. As a rule those that a consumer waits for
//     are served first.
//   - A start is exact. A watcher receives the events above [Watcher.Start] and
//     none below. What is published after Watch returned lies above, but for what
//     a state has that is ahead of the ring, and what somebody said to leave out
//     ([FromRevision], DispatcherOptions.After). Who begins with a revision or with
//     the present state ([WithInitial]) sees no gap and no repeat where history, or
//     the state, ends.
//   - Progress is in order ([WithProgress]): what lies at or below it was received,
//     or told to be lost, before.
//   - A faulty state is no panic of the package's. A nil event is left out; a
//     [Snapshot] whose functions panic ends the watcher that reads it, which says so
//     ([ErrSnapshot]); and these functions may call whatever they like. (What the
//     dispatcher calls is another matter: a panic of DispatcherOptions.Observe, or of
//     the Logger's handler, is one of [Dispatcher.Run], which ends all watchers.)
//   - The books balance. Of every watcher, and of all together, [Stats] hold:
//     matched = delivered + conflated + dropped + pending (+ discarded, by
//     watchers that ended).
//
// # Several producers
//
// A [Front] keeps these promises for several producers of one ring, the order of each
// of them and whole batches, without one ever waiting for another. Its revisions
// are its own, of this process and this run, so what needs an order that outlives
// them is refused: [FromRevision], [WithInitial] and DispatcherOptions.After.
//
// # How events are lost
//
// In two ways, each counted in [Stats]: the dispatcher itself is overtaken by
// the writer and falls off the ring, which every watcher is told; or one
// watcher's buffer is full, which that watcher is told. What a full buffer drops is
// the watcher's [Policy]; by default the newest events: what is held stays, and when
// there is room again the marker goes in ahead of the next event.
//
// A watcher that reads history ([FromRevision]) may be overtaken there, too. It is told, and
// counted only if that ends it ([Cancel]): nobody else has lost anything.
//
// With a Front there is another: too much waits for the one producer that is at work
// ([Front.Dropped]), which every watcher is told.
//
// # Goroutines
//
// The package starts none for its work. The owner of a [Dispatcher] runs it (Run
// has one more beside it, which does nothing but get the first one noticed by an
// idle processor, and which it waits for); a producer calls Push and Flush from one
// goroutine at a time; each [Cursor] belongs to one reader; watchers are pulled by
// their consumers, and only [Watcher.Chan] has a goroutine, which [Watcher.Stop] waits
// for, unless the watcher's [Snapshot] is being read just then. (The standard library
// runs a context's end and the finalizer of a watcher that was dropped without Stop on
// goroutines of its own, for a moment.)
//
// Package fanouttest checks these promises in your own tests.
package fanout
