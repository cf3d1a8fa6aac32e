// Package fsm is the replicated key-value state machine: what the commands in
// the Raft log mean, the store they change, and its snapshots. Every change it
// makes becomes one event in a [fanout.Ring].
//
// What a caller may rely on:
//
// # Threads
//
// Raft calls Apply, ApplyBatch, Snapshot and Restore from one goroutine, and
// Persist from another while applies go on. [FSM.Get], [FSM.Revision],
// [FSM.Len], [FSM.Cluster], [FSM.Time], [FSM.NextExpiry], [FSM.List], [FSM.Since],
// [FSM.State], [FSM.Backup] and [FSM.Await] may be called from any goroutine at any time;
// each sees the state between two batches, never within one. A batch waits for
// the readers that are looking something up and for nobody else: the ring never
// blocks.
//
// # Order
//
// A revision is the Raft log index of a command. ApplyBatch changes the store,
// makes the changes visible to readers, and only then publishes their events,
// once for the whole batch. So whoever received an event finds its change, or a
// later one, by Get, and a Revision that is no lower than the event's. The
// events of the ring are in log order, one for each change, and a command that
// failed or changed nothing makes none.
//
// Revision is the index of the last command, failed ones included. The entries
// Raft makes for itself (no-ops, barriers, configurations) do not count: most
// of them never reach a state machine, and who waited for them would hang.
// Revision goes back in one case only: somebody hands Raft an older snapshot to
// restore. A [Backup] that was moved to a later revision ([Backup.MoveTo]) spares
// readers that.
//
// # Determinism
//
// State and results depend on the log alone: not on how it was cut into
// batches, nor on whether a replica read it from the start or came by a
// snapshot. There is no clock and no random number in here; the time of a
// change is the one the leader wrote into the log entry, in UTC and to the
// nanosecond, and when keys expire is measured by what commands say ([Stamp]).
// Replicas in the same state write the same snapshot, byte for byte. Limits that decide
// whether a command is refused are constants of the
// program or of the cluster, never options of a node.
//
// # Failure
//
// A command that cannot be carried out changes nothing and says so in
// [Result], on every replica alike; nothing in a log entry or a snapshot makes
// this package panic. A snapshot is read as a whole and checked before it
// replaces the state; one that is damaged leaves the state as it was.
//
// # Other state machines
//
// [Wrap] gives a watch to any [raft.FSM] that is there already. Order holds for it
// as above; what it cannot know, and what watchers may therefore conclude from less,
// is said there.
//
// # Versions
//
// Commands and snapshots are read strictly: what this version would not have
// written itself, it refuses. A field that is skipped because it is unknown
// would be a command that does one thing on a new replica and another on an
// old one. A later version may add operations and fields to version 1 of the
// command encoding, under new numbers, and must go on reading all that was
// there; and it may propose them only when every member of the cluster
// understands them, because an older one refuses the command ([ErrBadCommand])
// that a newer one carries out. The version byte is for a change of what is
// already there. Of a snapshot only the version counts: any change of its
// format gets a new one, and a program reads the versions before its own.
package fsm
