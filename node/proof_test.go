package node

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// cutOff ends what the voters beside the leader hear of it.
func cutOff(leader *Node, links map[string]*link) {
	for id, k := range links {
		if id != leader.ID() {
			k.hold(true, false)
		}
	}
}

// TestNonvotersProveNothing: a leader whose voters are gone answers no read, also
// while non-voters follow it, although Raft says that it leads.
func TestNonvotersProveNothing(t *testing.T) {
	t.Parallel()
	nodes, links := linked(t, 3)
	leader, _ := split(t, nodes)
	for _, id := range []string{"n4", "n5"} {
		c := joiner(t, leader, id)
		c.Nonvoter = true
		join(t, c)
		awaitMember(t, leader, id, false)
	}
	revision := put(t, leader, "k", "v")
	wantValue(t, leader, "k", "v", revision)

	cutOff(leader, links)
	if err := leader.consensus.raft.VerifyLeader().Error(); err != nil {
		t.Fatalf("Raft does not count non-voters any more (%v); acks may be simpler", err)
	}
	e, err := leader.Get(bounded(t), "k")
	if !errors.Is(err, ErrNotLeader) {
		t.Fatalf("a read without a majority: %q, %v; want %v", e.Value, err, ErrNotLeader)
	}
}

// TestLateAnswersProveNothing: answers to heartbeats from before the read, which the
// network delivers after it, prove nothing of the time of the read, although Raft
// takes them for a proof.
func TestLateAnswersProveNothing(t *testing.T) {
	t.Parallel()
	nodes, links := linked(t, 3)
	for ctx := bounded(t); ; {
		if ctx.Err() != nil {
			t.Fatal("on this machine no answer is late enough")
		}
		leader := leaderAmong(t, nodes)
		verified, value, err := readWithLateAnswers(t, leader, links)
		if !errors.Is(err, ErrNotLeader) {
			t.Fatalf("a read that only old answers speak for: %q, %v; want %v", value, err, ErrNotLeader)
		}
		for _, k := range links {
			k.hold(false, false)
		}
		if verified == nil {
			return
		}
		t.Logf("once more, because the lease ended before the answers came: %v", verified)
	}
}

// readWithLateAnswers reads from a leader that is cut off, and to which answers from
// before come only after the read has begun. It returns also what Raft thinks of
// them.
func readWithLateAnswers(t *testing.T, leader *Node, links map[string]*link) (verified error, value string, err error) {
	t.Helper()
	var others []*link
	for id, k := range links {
		if id != leader.ID() {
			others = append(others, k)
		}
	}
	if revision, err := leader.Put(bounded(t), "k", []byte("v")); err == nil {
		wantValue(t, leader, "k", "v", revision)
	}
	for _, k := range others {
		k.hold(false, true)
	}
	for _, k := range others {
		// One connection has the heartbeats and one the log.
		eventually(t, "a heartbeat's answer is under way", func() bool { return k.answersHeld() >= 2 })
		k.hold(true, true) // what is asked from now on never arrives
	}
	begun := func() uint64 {
		a := leader.consensus.acks
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.begun
	}
	before := begun()
	read := make(chan error, 1)
	go func() {
		e, err := leader.Get(bounded(t), "k")
		value = string(e.Value)
		read <- err
	}()
	eventually(t, "the read is being proven", func() bool { return begun() > before })
	proof := leader.consensus.raft.VerifyLeader()
	for _, k := range others {
		k.hold(true, false)
	}
	verified = within(t, "Raft's own proof", proof.Error)
	return verified, value, within(t, "the read", func() error { return <-read })
}

// TestReadsThroughPauses: a network that stops and goes on within a lease costs reads
// their time, not their answer.
func TestReadsThroughPauses(t *testing.T) {
	t.Parallel()
	nodes, links := linked(t, 3)
	leader, others := split(t, nodes)
	revision := put(t, leader, "k", "v")
	for range 5 {
		for _, n := range others {
			links[n.ID()].hold(false, true)
		}
		read := make(chan error, 1)
		go func() {
			e, err := leader.Get(bounded(t), "k")
			if err == nil && e.Revision != revision {
				err = errors.New("another value")
			}
			read <- err
		}()
		for _, n := range others {
			eventually(t, "an answer is under way", func() bool { return links[n.ID()].answersHeld() > 0 })
		}
		select {
		case err := <-read:
			t.Fatalf("answered without a majority: %v", err)
		default:
		}
		for _, n := range others {
			links[n.ID()].hold(false, false)
		}
		if err := within(t, "the read", func() error { return <-read }); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMajority counts voters only, and this node only if it is one.
func TestMajority(t *testing.T) {
	voter := func(id string) raft.Server { return raft.Server{ID: raft.ServerID(id)} }
	nonvoter := func(id string) raft.Server { return raft.Server{ID: raft.ServerID(id), Suffrage: raft.Nonvoter} }
	for _, c := range []struct {
		name    string
		servers []raft.Server
		has     string
		want    bool
	}{
		{"nobody", nil, "", false},
		{"one of one", []raft.Server{voter("a")}, "a", true},
		{"one of two", []raft.Server{voter("a"), voter("b")}, "a", false},
		{"two of three", []raft.Server{voter("a"), voter("b"), voter("c")}, "ac", true},
		{"two of four", []raft.Server{voter("a"), voter("b"), voter("c"), voter("d")}, "ac", false},
		{"non-voters besides", []raft.Server{voter("a"), voter("b"), voter("c"), nonvoter("d"), nonvoter("e")}, "ade", false},
		{"non-voters absent", []raft.Server{voter("a"), voter("b"), voter("c"), nonvoter("d"), nonvoter("e")}, "ab", true},
		{"only non-voters", []raft.Server{nonvoter("d")}, "d", false},
		{"itself, without a vote", []raft.Server{nonvoter("a"), voter("b"), voter("c")}, "ab", false},
	} {
		got := majority(c.servers, func(id raft.ServerID) bool {
			for _, r := range c.has {
				if string(r) == string(id) {
					return true
				}
			}
			return false
		})
		if got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestAcks: an acknowledgement counts from when it was asked for, in its term, and a
// late one of an older question replaces no newer.
func TestAcks(t *testing.T) {
	a := newAcks()
	first := a.begin()
	proof := a.begin()
	second := a.begin()
	next := a.next()
	a.note("b", ack{term: 2, begun: second})
	select {
	case <-next:
	default:
		t.Error("nobody was told")
	}
	a.note("b", ack{term: 2, begun: first, heard: time.Now()})
	if k, ok := a.of("b", 2); !ok || k.begun != second || k.begun < proof {
		t.Errorf("a late answer replaced a newer one: %+v", k)
	}
	if _, ok := a.of("b", 3); ok {
		t.Error("an acknowledgement of an earlier term counts in a later one")
	}
	a.note("b", ack{term: 1, begun: a.begin()})
	if k, ok := a.of("b", 2); !ok || k.begun != second {
		t.Errorf("one of an older term replaced a newer one: %+v", k)
	}
	if _, ok := a.of("c", 2); ok {
		t.Error("somebody who never answered has acknowledged")
	}
	a.retain(func(id raft.ServerID) bool { return id != "b" })
	if _, ok := a.of("b", 2); ok {
		t.Error("one that is no member any more is remembered")
	}
}

// TestRefusedHeartbeats: a node that follows a later term does not agree to a
// heartbeat of an earlier one, though it answers.
func TestRefusedHeartbeats(t *testing.T) {
	t.Parallel()
	n := founder(t)
	old := ackTransport{NetworkTransport: secureTransport(t, nil), acks: newAcks()}
	var answer raft.AppendEntriesResponse
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("n0"), Addr: []byte("n0")}
	if err := old.AppendEntries(n.self(), n.consensus.address, &raft.AppendEntriesRequest{RPCHeader: header}, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.Term == 0 {
		t.Fatalf("the heartbeat of term 0 was agreed to: %+v", answer)
	}
	if k, ok := old.acks.of(n.self(), 0); ok {
		t.Errorf("counted as an acknowledgement: %+v", k)
	}
}
