package fsm

import (
	"fmt"
	"log/slog"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// Change is what a log entry did to one key of a wrapped state machine.
type Change struct {
	// Op is [fanout.Put], [fanout.Delete] or [fanout.Expire].
	Op fanout.Op
	// Key is 1 to [fanout.MaxKeyBytes] bytes.
	Key string
	// Value is the new value; left out of a Delete and an Expire. It is handed to
	// watchers as it is, so nobody may write to its bytes any more.
	Value []byte
	// PrevValue is the value before, if the machine can tell; the same goes for
	// its bytes.
	PrevValue []byte
}

// WrapOptions configures [Wrap].
type WrapOptions struct {
	// Ring takes the events. It must be new, and nobody else may push to it.
	Ring *fanout.Ring
	// Logger gets one line a minute while changes cannot be told, and one when the
	// state goes back; nil discards them.
	Logger *slog.Logger
}

// Wrap gives a watch to a state machine that knows nothing of it. The machine it
// returns is for [raft.NewRaft] in inner's place; what inner does becomes events
// in the ring, and watchers come from a [fanout.Registry] with a
// [fanout.Dispatcher], as for any ring. Where events and complaints go is in o, as
// for [New], so that more may be added. The error wraps [fanout.ErrBadOption].
//
// # What Raft sees
//
// The machine that it had. Results are inner's, in order and untouched, nil ones
// too; so are snapshots. The wrapped machine is a [raft.BatchingFSM] or a
// [raft.ConfigurationStore] exactly if inner is, because to either Raft sends its
// entries another way. The price is a Flush for each entry where inner does not
// batch; one that does gets one for each batch. Whether inner panics is between
// inner and Raft.
//
// # What changes must do
//
// It is called in Raft's apply goroutine, for each entry of type LogCommand, with
// the entry and inner's result for it, and returns what the entry changed: nothing
// for one that was refused. It must not block. If inner batches, the whole batch
// was applied before, so what an entry replaced is to be found in its result, not
// in the state. Several changes are an atomic batch and are received together; a
// key occurs once in them. The slice may be used again.
//
// If it panics, or returns a key or an Op that is none, or a key twice, Raft still
// gets its result, and watchers get [fanout.Lagged] in the place of the entry.
//
// # What a watcher may conclude
//
// An event's Revision is the index of its log entry. An event comes after its
// change is in inner.
//
// A PrevRevision that is not 0 is exact: the key changed there, and not between.
// But 0 means only that no earlier change is known. The wrapper remembers the
// revisions of the 32,768 keys that changed last (up to twice as many), since it
// was made or since the last Reset or loss of its own; it keeps nothing in
// snapshots. So whoever has seen a key may take PrevRevision above its last
// revision for a gap, as always, but must not take 0 for one; and as replicas
// began at different times, theirs may differ. In process no loss depends on it:
// losses are told by Lagged. Subscribers of package nats have nothing else: do not
// publish this ring there.
//
// # Snapshots
//
// After inner's Restore watchers get [fanout.Reset]. Raft does not tell a state
// machine the index of the snapshot. So the first Reset stands one above all that
// was seen before, which is not above that of a later state. With the first entry that
// follows comes a second one, just below that entry, if there is anything
// between: only then [fanout.FromRevision] knows that revisions are missing
// there. If Restore fails, what inner holds is anyone's guess, and watchers get
// Lagged with the next entry.
//
// [fanout.FromRevision] counts on that Reset. A machine that keeps its state itself,
// and has Raft restore nothing at the start (NoSnapshotRestoreOnStart), must not be
// watched from a revision of before the start: what the snapshot has would be missing.
//
// Raft also restores a snapshot that it is sent again, or late, when it has gone on.
// Then entries come at revisions that watchers are past, and would not receive. As
// long as they do, each entry that changes something, or each batch where inner
// batches, is a Reset above the last one; which is said once in the log. So nothing
// is left out, but no value is told, and the revisions lie above the log's indexes.
// It ends when the log has come as far, which takes entries that change nothing,
// or batches; or with the process.
//
// # After a restart
//
// Raft applies again what is in its log behind the last snapshot. To watchers that
// exist by then these entries are news, unless DispatcherOptions.After says up to
// where they are not. Set it to a revision through which this node announced
// changes in an earlier run: the lesser one of what [fanout.Dispatcher.Revision]
// and [raft.Raft.AppliedIndex] returned, stored by you, best after Raft has shut
// down. Not to the last index of the log: the end of a log may be uncommitted, and
// other entries may come in its place. Store it with the log and drop it with the
// log: a revision that lies ahead of the log silences changes. If there is none,
// leave After at 0, or make the watchers after a [raft.Raft.Barrier]: a watcher
// starts with what comes after it was made.
func Wrap(inner raft.FSM, changes func(entry *raft.Log, result any) []Change, o WrapOptions) (raft.FSM, error) {
	switch {
	case inner == nil || changes == nil || o.Ring == nil:
		return nil, fmt.Errorf("%w: Wrap needs a state machine, a function that tells its changes, and WrapOptions.Ring", fanout.ErrBadOption)
	case o.Ring.Revision() > 0:
		return nil, fmt.Errorf("%w: WrapOptions.Ring has events already, and Raft may apply their entries again; give Wrap a new one", fanout.ErrBadOption)
	}
	return wrap(inner, newAnnouncer(changes, o, keptRevisions)), nil
}
