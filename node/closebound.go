package node

import "time"

// closePatience is how long a node that closes waits for the others to store what is under
// way. It is longer than what else Close takes, a hand-over with the last of it.
const closePatience = drainTimeout + transferTime + 4*time.Second

// loseOthers has Raft lose the others if the end takes too long, until the function that it
// returns is called. A node whose disk stands still goes on to answer heartbeats, so a leader
// that has only such nodes keeps its majority, and commits nothing: what it has under way is
// answered when it does not lead any more, which is up to a lease later. A restore gets the time
// that it has to settle.
func (n *Node) loseOthers() (stop func() bool) {
	if n.consensus == nil || n.consensus.layer == nil { // it has not come so far, or is alone
		return func() bool { return true }
	}
	patience := closePatience
	if n.consensus.restoring.TryLock() {
		n.consensus.restoring.Unlock()
	} else {
		patience += settleTime
	}
	return time.AfterFunc(patience, func() {
		n.log.Warn("gave up what the other nodes do not store", "after", patience)
		n.consensus.layer.hangUp()
	}).Stop
}
