package node

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// acks remembers, of each other node, the newest heartbeat of this leader's that
// it agreed to. What counts is when the heartbeat was begun, not when the answer
// came: an answer that was given long ago, and lay in a socket while the network
// was cut or this process stood still, says nothing of the time since.
//
// The order of beginnings is that of a counter. No clock is in it.
type acks struct {
	mu      sync.Mutex
	begun   uint64 // counts heartbeats and proofs
	peers   map[raft.ServerID]ack
	changed chan struct{} // closed at the next acknowledgement; nil while nobody waits
}

type ack struct {
	term      uint64
	begun     uint64    // when the heartbeat was begun, as [acks.begin] counts
	heard     time.Time // when the answer came
	lastIndex uint64    // newest entry in its log, when it answered
}

func newAcks() *acks { return &acks{peers: make(map[raft.ServerID]ack)} }

// begin returns a number above that of everything that was begun before.
func (a *acks) begin() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begun++
	return a.begun
}

// note records that peer agreed that this node leads in the ack's term.
func (a *acks) note(peer raft.ServerID, n ack) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.peers[peer]
	if n.term < known.term || n.term == known.term && n.begun < known.begun {
		return
	}
	a.peers[peer] = n
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// of returns the newest acknowledgement of peer in term.
func (a *acks) of(peer raft.ServerID, term uint64) (ack, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k, ok := a.peers[peer]
	return k, ok && k.term == term
}

// retain forgets the nodes that are no members any more.
func (a *acks) retain(member func(raft.ServerID) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for peer := range a.peers {
		if !member(peer) {
			delete(a.peers, peer)
		}
	}
}

// next returns a channel that is closed when something is noted after the call.
func (a *acks) next() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.changed == nil {
		a.changed = make(chan struct{})
	}
	return a.changed
}

// ackTransport is Raft's transport, and notes what the others agree to, and whether one of them
// takes no entries from the first one on, which is said on refused; see [Node.sendSnapshot].
type ackTransport struct {
	*raft.NetworkTransport
	acks    *acks
	inward  *incoming
	refused chan<- struct{}
}

// Consumer implements [raft.Transport].
func (t ackTransport) Consumer() <-chan raft.RPC { return t.inward.rpcs }

// AppendEntries implements [raft.Transport]. Heartbeats come this way; entries do
// only until the other node has caught up.
func (t ackTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	begun := t.acks.begin()
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	if err == nil && resp.Term <= args.Term { // a higher one follows somebody else
		t.acks.note(id, ack{term: args.Term, begun: begun, heard: time.Now(), lastIndex: resp.LastLog})
		if !resp.Success && args.PrevLogEntry == 0 && len(args.Entries) > 0 {
			select {
			case t.refused <- struct{}{}:
			default:
			}
		}
	}
	return err
}
