package node

import "log/slog"

// atItsAddress is what helps a node that is not where the others look for it.
const atItsAddress = "start it there, or remove it and let it join with an empty data directory"

// noteSought notes where the leader looks for this node, which hears nothing of it. A member
// that was started with another Raft address would wait without a word for ever: the leader
// does not know the new one, and Raft sends nothing to who asks.
func (n *Node) noteSought(at string) {
	own := string(n.consensus.address)
	if at == own {
		n.sought.Store(nil)
		return
	}
	n.sought.Store(&at)
	n.repeats.log(n.log, slog.LevelWarn, "sought", "the other nodes look for this one at another address; "+atItsAddress, "address", own, "sought", at)
}
