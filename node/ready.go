package node

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// readyWait is how long /readyz looks before it answers that the node is not
// ready. A leader's beacon reaches a follower's broker some milliseconds before
// Raft lets the follower apply what it speaks of, and an election takes about
// half a second: neither should take a node out of service that is fine.
const readyWait = time.Second

// unready says in one line why the node cannot serve; empty if it can: it is
// connected to its broker, knows a leader, and has applied everything that was
// published as far as it knows. On start it knows that from its own record,
// then from the leader's beacon of every second; so a node that comes back
// after a long time is not ready before it has caught up.
func (n *Node) unready() string {
	leader := n.Leader()
	e, _ := n.currentEpoch()
	cluster, founded := n.machine.Cluster()
	published := n.published.Load()
	if known, _ := n.announced.get(); known.Cluster == cluster.ID {
		published = max(published, known.Revision)
	}
	applied := n.machine.Revision()
	switch {
	case n.closing():
		return "it is stopping"
	case n.removed.Load():
		return plain(ErrRemoved)
	case n.Err() != nil:
		return "it has stopped by itself: " + plain(n.Err())
	case n.joining.Load() && len(n.servers()) == 0:
		return "joining a cluster, and nothing heard of it yet"
	case leader == "" && n.sought.Load() != nil:
		return fmt.Sprintf("no leader: the other nodes look for this one at %s, and it is at %s; %s", *n.sought.Load(), n.consensus.address, atItsAddress)
	case leader == "":
		return "no leader; are a majority of the nodes up and connected?"
	case leader == n.config.ID && e == nil:
		return "elected, and about to lead"
	case !founded:
		return fmt.Sprintf("nothing applied yet of what %s leads", leader)
	case published > applied:
		return fmt.Sprintf("catching up with %s: revision %d of %d", leader, applied, published)
	case !n.serviceConn.IsConnected():
		return "no connection to the broker at " + n.NATSURL() + "; is it running there?"
	}
	return ""
}

// serveReady answers 200 if the node can serve, or becomes able to within
// [readyWait], else 503 with the reason.
func (n *Node) serveReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyWait)
	defer cancel()
	reason := n.unready()
	for reason != "" && ctx.Err() == nil && !n.closing() {
		pause(ctx, leaderPoll)
		reason = n.unready()
	}
	if reason != "" {
		http.Error(w, reason, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
