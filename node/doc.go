// Package node is a whole Watchcast node to embed: Raft with its log on disk,
// the key-value state machine, the fan-out to in-process watchers, a NATS
// broker, the key-value service on it, and HTTP. cmd/node is this and flags.
//
//	n, err := node.Start(ctx, node.Config{})
//	defer n.Close()
//	w, err := n.Watch(ctx, "app.>")
//	revision, err := n.Put(ctx, "app.color", []byte("blue"))
//
// Nothing in here is global; several nodes live in one process.
//
// # What a caller may rely on
//
//   - A write that returned without an error is on a majority's disks, in the
//     order of its revision, and will be seen by every watcher of its key or
//     reported to it as lost.
//   - [Node.Get] on the leader is linearizable: it sees every write that
//     returned before it was called, whoever made it.
//   - [Node.Backup] is the state at one revision; [Node.Restore] makes it that of the
//     whole cluster, at a revision above all before.
//   - On restart, what was announced before is not announced again. After a
//     crash, what was published but not yet recorded as such (the last second or
//     two) may be. A subscriber at a broker that lives on misses nothing when the
//     leader dies, or is told what.
//
// # Goroutines
//
// [Start] starts the node's goroutines; [Node.Close] ends them and waits. A
// node has those of its parts (Raft, the broker, its two connections to it,
// HTTP) and these of its own: the dispatcher, one that follows leadership, some
// that run while it leads, one that records how far was announced, one that
// serves proofs of leadership to reads, one that has snapshots taken when the log
// has grown, one that looks at snapshots from the leader before Raft does, one that
// ends Raft if the node must not go on, and two that follow who belongs to the
// cluster, and whether this node does. With an embedded broker one cuts off slow
// clients, and where that has routes one shows them until the leader has been heard. A
// node that joins has one more until it has joined. A Raft port has two that accept
// connections.
//
// # Failure
//
// A node that cannot write its log, finds that it is of another cluster or the second of
// its id, or has lost a connection to its broker for good, stops by itself: see [Node.Failed].
package node
