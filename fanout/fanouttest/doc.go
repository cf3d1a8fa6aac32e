// Package fanouttest checks what package fanout promises to a watcher, for tests
// of the fan-out itself, of programs that have one, and of subscribers that
// receive its events from elsewhere.
//
//	writer ── Commit, Replace ──▶ Log
//	                               │ Receiver, one for each watcher
//	consumer ─ Receive, Read ──▶ Receiver ── Check ──▶ what was broken, and where
//
// The writer tells a [Log] of each change before it pushes it. Each consumer has a
// [Receiver], and tells it of every event it receives and of every state it reads.
// At the end the one is held against the other. Events are compared by what they
// say, never by pointer, so those decoded from messages will do. They are copied
// when they are recorded, so a change made to them later shows.
//
// # The promises
//
// Each has a method that returns an error with the first breach and what was
// recorded around it, and an error of its own to tell it by:
//
//   - [Receiver.Genuine], [ErrForeign]: only what was committed, as it was
//     committed, of the receiver's filter and operations.
//   - [Receiver.Ordered], [ErrOrder]: in the order of revisions, above the start.
//   - [Receiver.Unique], [ErrRepeat]: each at most once.
//   - [Receiver.Whole], [ErrTornBatch]: batches entirely or not at all.
//   - [Receiver.ReliableOrFlagged], [ErrLost]: what is missing was flagged.
//   - [Receiver.Exact], [ErrMarker]: what was flagged is missing.
//   - [Receiver.Chained], [ErrChain]: PrevRevision shows each loss at the key's
//     next event, and no other.
//   - [Receiver.Converged], [ErrDiverged], [ErrStale]: a read after a marker has
//     what the marker covers, and the consumer ends with the committed state.
//
// [Receiver.Check] makes all of them, after a look at the history itself
// ([ErrHistory]). What a receiver may do without is said by options: [Conflated],
// [Ops], [AtLeastOnce], [Unmarked], [Healing]. A Lagged may name a key: then it
// flags changes of that key only, and is exact for that.
//
// # What is not seen
//
// What was lost at the end is missed only up to the revision that the checks are
// given: wait until all was delivered and drained. When something arrived is not
// recorded, nor that nobody was delayed.
//
// # Goroutines
//
// The package starts none. Any goroutine may use a Log; one at a time should
// record with a Receiver, and checks may be made meanwhile. A check of n records
// and m changes takes about n + m steps, once for each Progress.
package fanouttest
