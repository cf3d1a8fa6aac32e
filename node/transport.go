package node

import (
	"sync"

	"github.com/hashicorp/raft"
)

// transport is Raft's, and notes which peers confirmed whom they follow.
type transport struct {
	*raft.NetworkTransport
	heard *heard
}

// noPipeline has Raft send a peer one request at a time. Two under way at once are
// its default, and can lock up for good: the goroutine that reads the answers gives
// up at the first that is not a success while the one that sends goes on and waits
// for it. The peer then hears heartbeats, and no entry ever again, and Shutdown
// waits for ever (hashicorp/raft issue 612; v1.8.0 has it).
const noPipeline = 1

// AppendEntries implements [raft.Transport].
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	asked := t.heard.now()
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	if err == nil && resp.Term == args.Term {
		t.heard.note(id, args.Term, asked)
	}
	return err
}

// heard knows when each peer was asked the newest question that it answered as a
// follower of this node. Raft's own proof of leadership counts any answer that
// comes while it waits, also one to a question from long before, which says
// nothing: held up in the network, or unread in a process that was paused, it may
// be older than the next leader.
//
// Time is a count of proofs. A question that was asked after a proof began has at
// least its number.
type heard struct {
	mu      sync.Mutex
	begun   uint64                     // proofs so far
	answers map[raft.ServerID]question // the newest that each peer answered
	changed chan struct{}              // closed and replaced at every note
}

type question struct{ term, asked uint64 }

func newHeard() *heard {
	return &heard{answers: make(map[raft.ServerID]question), changed: make(chan struct{})}
}

func (h *heard) now() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.begun
}

// begin starts a proof and returns its number.
func (h *heard) begin() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun++
	return h.begun
}

// note records that a peer answered, as a follower in this term, a question that
// was asked at this time.
func (h *heard) note(peer raft.ServerID, term, asked uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if before := h.answers[peer]; term < before.term || term == before.term && asked <= before.asked {
		return // nothing new; nearly all answers are such
	}
	h.answers[peer] = question{term, asked}
	close(h.changed)
	h.changed = make(chan struct{})
}

// majority reports whether so many voters, self among them, follow in this term
// and said so when asked after proof began; changed is closed when to look again.
func (h *heard) majority(self raft.ServerID, servers []raft.Server, term, proof uint64) (ok bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	voters, agree := 0, 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if a := h.answers[s.ID]; s.ID == self || a.term == term && a.asked >= proof {
			agree++
		}
	}
	return agree > voters/2, h.changed
}
