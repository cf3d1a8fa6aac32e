package nats

import (
	"slices"
	"sync"
	"time"
)

// Bounds of what a leader does for the other nodes.
const (
	// AckPatience is how long after its last acknowledgement a node still holds up
	// what is safe.
	AckPatience = 3 * time.Second
	// LostPause lies between two resets that the same node causes.
	LostPause = 2 * time.Second
)

// Audience is what a node knows of the brokers of the others, from their
// acknowledgements: always the routes that they have to its own broker, and, while it
// leads, how far its events have reached. It knows the members of the cluster only. It
// starts no goroutine and looks at no clock; any goroutine may call it, and nothing
// blocks.
type Audience struct {
	node string

	mu      sync.Mutex
	members map[string]*listening
	term    uint64 // that the node leads or has led; 0 for none
	safe    uint64
}

// listening is what is known of one node.
type listening struct {
	term, seq uint64 // of the newest acknowledgement
	route     uint64 // from its broker to this node's; 0 if it has none
	met       bool   // it can tell what of this node's term reaches it
	counts    bool   // it has acknowledged in this node's term, or was there when that began
	gone      bool   // its process has ended, as it looks, and no acknowledgement came since
	heard     time.Time
	received  uint64
	reset     time.Time // when its loss was last passed on
}

// NewAudience returns that of a node; its members are to be set.
func NewAudience(node string) *Audience {
	return &Audience{node: node, members: make(map[string]*listening)}
}

// SetMembers says who belongs to the cluster. The node itself may be among them.
func (a *Audience) SetMembers(ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	members := make(map[string]*listening, len(ids))
	for _, id := range ids {
		if members[id] = a.members[id]; members[id] == nil {
			members[id] = new(listening)
		}
	}
	a.members = members
}

// Gone says that the process of a member has ended, or looks as if it had. It holds up
// nothing any more, until it acknowledges something again. If it lives all the same, and
// has not received what is called safe meanwhile, it finds that out by itself: see
// [Hearing].
func (a *Audience) Gone(node string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.members[node]; m != nil {
		m.counts, m.gone = false, true
	}
}

// lead begins a term, in which publishing begins behind from. Each member that is not gone
// counts as if it had just said that it has everything up to there: who has not will say so.
func (a *Audience) lead(term, from uint64, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.term, a.safe = term, from
	for _, m := range a.members {
		m.met, m.counts, m.heard, m.received, m.reset = false, !m.gone, now, from, time.Time{}
	}
}

// Ack takes an acknowledgement of the node's cluster while the node does not lead.
func (a *Audience) Ack(k Ack, now time.Time) { a.ack(k, 0, now) }

// ack takes an acknowledgement. It returns what is to be announced as lost, if anything,
// and whether the next beacon has news for the node that sent it. What it claims to have
// lost above confirmed it cannot have been told of.
func (a *Audience) ack(k Ack, confirmed uint64, now time.Time) (lost *Range, news bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.members[k.Node]
	if m != nil && k.Term == 0 { // it has heard nothing yet, and says where it is
		m.gone = false
		return nil, m.moved(k.Routes[a.node])
	}
	if m == nil || k.Term < m.term || k.Term == m.term && k.Seq < m.seq {
		return nil, false
	}
	m.term, m.seq, m.gone = k.Term, k.Seq, false
	news = m.moved(k.Routes[a.node])
	if k.Term != a.term {
		return nil, news
	}
	m.counts, m.heard, m.received = true, now, k.Received
	m.met = m.met || k.Proven
	if k.Lost != nil && k.Lost.To <= confirmed && (m.reset.IsZero() || now.Sub(m.reset) >= LostPause) {
		m.reset = now
		lost = k.Lost
	}
	return lost, news
}

// moved notes the route of a node, and reports whether it is another one than before.
func (m *listening) moved(route uint64) bool {
	before := m.route
	m.route = route
	return route != before
}

// routes returns the route to the node's broker that each of the others told last.
func (a *Audience) routes() map[string]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	routes := make(map[string]uint64, len(a.members))
	for id, m := range a.members {
		if m.route != 0 {
			routes[id] = m.route
		}
	}
	return routes
}

// safeAt returns the revision up to which every event has reached the broker of the node
// itself, which has confirmed so much, and of all others that were heard of lately, or
// was safe before.
func (a *Audience) safeAt(confirmed uint64, now time.Time) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	safe := confirmed
	for id, m := range a.members {
		if a.waitsFor(id, m, now) {
			safe = min(safe, m.received)
		}
	}
	a.safe = max(a.safe, safe)
	return a.safe
}

// told reports whether all others that were heard of lately have acknowledged beacon seq
// of the node's term.
func (a *Audience) told(seq uint64, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, m := range a.members {
		if a.waitsFor(id, m, now) && (m.term != a.term || m.seq < seq) {
			return false
		}
	}
	return true
}

// unmet returns those of the others, of whom lives says that they do, who cannot tell yet
// what of the node's term reaches them.
func (a *Audience) unmet(lives func(node string) bool) (ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, m := range a.members {
		if id != a.node && !m.met && lives(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (a *Audience) waitsFor(id string, m *listening, now time.Time) bool {
	return id != a.node && m.counts && now.Sub(m.heard) <= AckPatience
}
