package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/nats"
)

// wantRemoved waits until a node says that it is none of the cluster any more, and
// holds what it does then: it is not ready, and refuses reads and writes at once.
func wantRemoved(t *testing.T, n *Node, key string) {
	t.Helper()
	eventually(t, n.ID()+" knows that it was removed", func() bool { return n.removed.Load() })
	if n.HTTPURL() != "" {
		if resp, body := fetch(t, "GET", n.HTTPURL()+"/readyz"); resp.StatusCode != 503 || !strings.Contains(body, "removed from its cluster") {
			t.Errorf("/readyz: %s %q; want 503", resp.Status, body)
		}
	}
	if err := n.WaitReady(bounded(t)); !errors.Is(err, ErrRemoved) {
		t.Errorf("WaitReady: %v; want %v", err, ErrRemoved)
	}
	if _, err := n.Put(bounded(t), key, nil); !errors.Is(err, ErrRemoved) {
		t.Errorf("put: %v; want %v", err, ErrRemoved)
	}
	if _, err := n.Get(bounded(t), key); !errors.Is(err, ErrRemoved) {
		t.Errorf("get: %v; want %v", err, ErrRemoved)
	}
}

// wantData holds that a removed node still has what it had. After a restart it may
// have less: nobody tells it how much of its log is committed.
func wantData(t *testing.T, n *Node, key string) {
	t.Helper()
	if _, err := n.Get(bounded(t), key, Stale(0)); err != nil {
		t.Errorf("stale get: %v", err)
	}
}

// TestRemoveFollower: a follower that is removed knows it, and does not disturb the
// others, also after a restart; with an empty directory it may come back.
func TestRemoveFollower(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3, withHTTP)
	leader, others := split(t, nodes)
	gone, rest := others[0], others[1]
	revision := put(t, leader, "k", "v")
	eventually(t, "it has the data", func() bool { return gone.Revision() >= revision })
	term := leader.Status().Term
	if err := leader.Remove(bounded(t), gone.ID()); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, rest, gone.ID())
	wantRemoved(t, gone, "k")
	wantData(t, gone, "k")
	stop(t, gone)
	gone = start(t, gone.config)
	wantRemoved(t, gone, "k")
	put(t, leader, "k", "goes on")
	if now := leader.Status().Term; now != term {
		t.Errorf("term %d was disturbed: it is %d", term, now)
	}
	if err := gone.Leave(bounded(t)); err != nil {
		t.Errorf("leave once more: %v", err)
	}
	stop(t, gone)

	config := gone.config
	config.DataDir, config.Peers, config.Join = t.TempDir(), nil, leader.HTTPURL()
	join(t, config)
	awaitMember(t, leader, gone.ID(), true)
}

// TestRemoveLeader: the leader that is removed hands leadership over first. Nobody
// waits for an election, and no write is lost.
func TestRemoveLeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		remove func(*testing.T, *Node) error
	}{
		{"remove", func(t *testing.T, n *Node) error { return n.Remove(bounded(t), n.ID()) }},
		{"leave", func(t *testing.T, n *Node) error { return n.Leave(bounded(t)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			nodes := clusterOf(t, 3, withHTTP)
			leader, others := split(t, nodes)
			revision := put(t, leader, "k", "v")
			term := leader.Status().Term
			if err := within(t, c.name, func() error { return c.remove(t, leader) }); err != nil {
				t.Fatal(err)
			}
			if !leader.removed.Load() {
				t.Error("it does not know at once that it was removed, though it was answered")
			}
			next := leaderAmong(t, others)
			wantValue(t, next, "k", "v", revision)
			if now := next.Status().Term; now != term+1 {
				t.Errorf("the term is %d after one hand-over from %d", now, term)
			}
			awaitGone(t, next, leader.ID())
			wantRemoved(t, leader, "k")
			wantData(t, leader, "k")
			put(t, next, "k", "goes on")
		})
	}
}

// TestDemoteLeader: the leader hands leadership over, and follows without a vote.
func TestDemoteLeader(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	if err := within(t, "demote", func() error { return leader.Demote(bounded(t), leader.ID()) }); err != nil {
		t.Fatal(err)
	}
	next := leaderAmong(t, others)
	awaitMember(t, next, leader.ID(), false)
	revision := put(t, next, "k", "v")
	if _, err := leader.Get(bounded(t), "k", Stale(revision)); err != nil {
		t.Fatal(err)
	}
	waitReady(t, leader)
}

// TestLeaveFromFollower: a follower leaves by asking the leader.
func TestLeaveFromFollower(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	revision := put(t, leader, "k", "v")
	eventually(t, "it has the data", func() bool { return others[0].Revision() >= revision })
	if err := within(t, "leave", func() error { return others[0].Leave(bounded(t)) }); err != nil {
		t.Fatal(err)
	}
	if !others[0].removed.Load() {
		t.Error("it does not know at once that it has left")
	}
	awaitGone(t, leader, others[0].ID())
	wantRemoved(t, others[0], "k")
	wantData(t, others[0], "k")
	if err := within(t, "leave again", func() error { return others[0].Leave(bounded(t)) }); err != nil {
		t.Errorf("leave again: %v", err)
	}
}

// TestRemovedWhileAway: a node that was removed while it was down or cut off asks,
// ends its Raft, and does not make the others vote until then.
func TestRemovedWhileAway(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3, withHTTP)
	leader, others := split(t, nodes)
	gone := others[0]
	revision := put(t, leader, "k", "v")
	eventually(t, "it has the data", func() bool { return gone.Revision() >= revision })
	stop(t, gone)
	leader = leaderAmong(t, []*Node{leader, others[1]})
	if err := leader.Remove(bounded(t), gone.ID()); err != nil {
		t.Fatal(err)
	}
	term := leader.Status().Term
	config := gone.config
	config.ElectionTimeout = 250 * time.Millisecond // it counts what it waits for in these
	gone = start(t, config)
	wantRemoved(t, gone, "k")
	if gone.consensus.raft.State().String() != "Shutdown" {
		t.Errorf("its Raft is %v", gone.consensus.raft.State())
	}
	if now := leader.Status().Term; now != term {
		t.Errorf("term %d was disturbed: it is %d", term, now)
	}
	put(t, leader, "k", "goes on")
}

// TestRefoundedDoesNotRemove: a member's id and address with another cluster behind them, as
// when it was founded anew on an empty directory, has nobody removed. The node goes on once
// the rest of its own cluster is back.
func TestRefoundedDoesNotRemove(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	revision := put(t, leaderAmong(t, nodes), "k", "v")
	for _, n := range nodes {
		eventually(t, n.ID()+" has the data", func() bool { return n.Revision() >= revision })
	}
	for _, n := range nodes {
		stop(t, n)
	}
	again := single(t)
	again.ID, again.Raft = nodes[0].ID(), nodes[0].config.Raft
	lead(t, again)
	alone := start(t, nodes[1].config)
	if alone.leaderDisowns(bounded(t)) {
		t.Error("it takes the leader of another cluster for its own")
	}
	other := start(t, nodes[2].config)
	wantValue(t, leaderAmong(t, []*Node{alone, other}), "k", "v", revision)
	if alone.removed.Load() || other.removed.Load() {
		t.Error("one says that it was removed")
	}
}

// TestRemovedByItsOwnLog: a node that finds its removal in its log needs nobody to tell
// it, and its Raft goes on: should the removal be undone, it is a member again.
func TestRemovedByItsOwnLog(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	put(t, leader, "k", "v")
	if err := leader.consensus.raft.RemoveServer(leader.self(), 0, 0).Error(); err != nil {
		t.Fatal(err)
	}
	wantRemoved(t, leader, "k")
	wantData(t, leader, "k")
	eventually(t, "its Raft follows, and has not ended", func() bool { return leader.consensus.raft.State() == raft.Follower })
	put(t, leaderAmong(t, others), "k", "goes on")
}

// TestRemovedStays: what the leader has said of the removal holds against the node's own log
// from then on, also while what is under way keeps its Raft from ending.
func TestRemovedStays(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	n.consensus.calls.enter()
	left := make(chan struct{})
	go func() { n.left(); close(left) }()
	eventually(t, "it knows", func() bool { return n.removed.Load() })
	n.noteRemoval()
	if !n.removed.Load() {
		t.Error("it takes itself for a member again")
	}
	n.consensus.calls.leave()
	<-left
}

// TestServiceErrorRemoved: over NATS, a removed node's answer sends clients
// elsewhere.
func TestServiceErrorRemoved(t *testing.T) {
	err := serviceError(fmt.Errorf("get: %w", ErrRemoved))
	if !errors.Is(err, &nats.Error{Code: nats.CodeUnavailable}) {
		t.Errorf("%v; want code %d", err, nats.CodeUnavailable)
	}
}

// TestAddVoter: a removed node that still runs may be added again, with its data: it
// catches up without a vote, and is as before. Of two who add it at once one does it,
// and both are told the truth.
func TestAddVoter(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3, withHTTP)
	leader, others := split(t, nodes)
	n := others[0]
	put(t, leader, "k", "before")
	if err := leader.Remove(bounded(t), n.ID()); err != nil {
		t.Fatal(err)
	}
	wantRemoved(t, n, "k")
	put(t, leader, "k", "meanwhile")
	added := make(chan error, 2)
	for range 2 {
		go func() { added <- leader.AddVoter(bounded(t), n.ID(), n.config.Raft) }()
	}
	for range 2 {
		err := within(t, "adding", func() error { return <-added })
		if err != nil && !errors.Is(err, ErrDuplicateMember) { // that it is a voter already
			t.Error(err)
		}
	}
	awaitMember(t, n, n.ID(), true)
	eventually(t, "it knows that it is back", func() bool { return !n.removed.Load() })
	waitReady(t, n)
	revision := put(t, leader, "k", "after")
	if _, err := n.Get(bounded(t), "k", Stale(revision)); err != nil {
		t.Fatal(err)
	}
}
