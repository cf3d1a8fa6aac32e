package node

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// WatchMembers yields who leads and who belongs to the cluster: at once what this
// node knows, and after every change the newest. A consumer that is slow skips what
// was replaced meanwhile, and delays nobody; nothing is queued. The sequence ends
// with ctx or when the node closes, and runs in the caller's goroutine. The slices
// are shared; do not change them.
//
// It works on every node. A node that is cut off knows what it knew.
func (n *Node) WatchMembers(ctx context.Context) iter.Seq[Membership] {
	return func(yield func(Membership) bool) {
		for {
			m, changed := n.roster.get()
			if ctx.Err() != nil || n.closing() || !yield(m) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			case <-n.leaving.Done():
				return
			}
		}
	}
}

// roster holds the newest membership for whoever waits for a change.
type roster struct {
	mu      sync.Mutex
	now     Membership
	changed chan struct{} // closed and replaced when it changes
}

func newRoster() *roster { return &roster{changed: make(chan struct{})} }

func (r *roster) get() (Membership, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now, r.changed
}

func (r *roster) set(m Membership) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now.equal(m) {
		return
	}
	r.now = m
	close(r.changed)
	r.changed = make(chan struct{})
}

// rosterPeriod is how late a change is seen that nothing signals: what an installed
// snapshot says of the members, and a term without a leader.
const rosterPeriod = time.Second

// followMembers keeps the roster. Raft and the state machine only ring a bell: they
// wait for nobody.
func (n *Node) followMembers(ctx context.Context) {
	observed := make(chan raft.Observation, 1)
	observer := raft.NewObserver(observed, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState, raft.PeerObservation:
			return true
		}
		return false
	})
	n.consensus.raft.RegisterObserver(observer)
	defer n.consensus.raft.DeregisterObserver(observer)
	tick := time.NewTicker(rosterPeriod)
	defer tick.Stop()
	for {
		n.roster.set(n.membership())
		n.consensus.acks.retain(func(id raft.ServerID) bool { _, ok := n.member(string(id)); return ok })
		n.setAudience()
		n.noteRemoval()
		select {
		case <-observed:
		case <-n.configured:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// machine is the state machine as Raft has it: it tells when a change of the
// members is committed. On a node that does not lead nothing else does.
type machine struct {
	*learning
	configured chan<- struct{} // has room for one
}

// ApplyBatch implements [raft.BatchingFSM].
func (m machine) ApplyBatch(logs []*raft.Log) []any {
	for _, l := range logs {
		if l.Type == raft.LogConfiguration {
			select {
			case m.configured <- struct{}{}:
			default:
			}
		}
	}
	return m.learning.ApplyBatch(logs)
}
