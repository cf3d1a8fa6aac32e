package node

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/watchcast/watchcast/internal/freeport"
)

// TestJoin: a node with an empty directory joins through any node of a cluster, gets
// all data, by snapshot, and becomes a voter by itself. It goes on as one when
// it is started again with the same configuration, also when nobody is there to join
// through any more.
func TestJoin(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3, withHTTP, inMemory)
	leader, others := split(t, nodes)
	revisions := make([]uint64, 100)
	for i := range revisions {
		revisions[i] = put(t, leader, fmt.Sprintf("key.%d", i), fmt.Sprint(i))
	}
	keepNoLog(t, leader)
	takeSnapshot(t, leader)

	config := joiner(t, others[0], "n4") // which does not lead, and has to ask who does
	n := join(t, config)
	for _, other := range append(nodes, n) {
		awaitMember(t, other, "n4", true)
	}
	waitReady(t, n)
	wantSnapshot(t, n)
	for i, revision := range revisions {
		e, err := n.Get(bounded(t), fmt.Sprintf("key.%d", i), Stale(revision))
		if err != nil || string(e.Value) != fmt.Sprint(i) || e.Revision != revision {
			t.Fatalf("key.%d is %q at %d, %v; want revision %d", i, e.Value, e.Revision, err, revision)
		}
	}
	eventually(t, "the join is over", func() bool { return !n.dir.joining() && !n.joining.Load() })

	// Four voters lose one: three of four are a majority only if the new one votes.
	stop(t, others[1])
	revision := put(t, leader, "k", "with n4")
	if _, err := n.Get(bounded(t), "k", Stale(revision)); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	config.Join = "http://" + freeport.Address(t) // nobody there
	n = start(t, config)
	waitReady(t, n)
	if revision := put(t, leaderAmong(t, []*Node{leader, others[0], n}), "k", "again"); revision == 0 {
		t.Fatal("no revision")
	}
}

// TestJoinAsNonvoter: one that is to be a non-voter stays one, also after a restart;
// it has the data, and nobody needs it.
func TestJoinAsNonvoter(t *testing.T) {
	t.Parallel()
	leader := founder(t)
	config := joiner(t, leader, "n2")
	config.Nonvoter = true
	n := join(t, config)
	awaitMember(t, leader, "n2", false)
	eventually(t, "the join is over", func() bool { return !n.dir.joining() && !n.joining.Load() })
	revision := put(t, leader, "k", "v")
	if _, err := n.Get(bounded(t), "k", Stale(revision)); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	put(t, leader, "k", "alone")
	n = start(t, config)
	waitReady(t, n)
	revision = put(t, leader, "k", "together")
	if _, err := n.Get(bounded(t), "k", Stale(revision)); err != nil {
		t.Fatal(err)
	}
	if err := leader.Promote(bounded(t), "n2"); err != nil {
		t.Fatal(err)
	}
	awaitMember(t, n, "n2", true)
}

// TestDemotedStaysDemoted: a voter that was demoted is not promoted again by its
// own restart with the configuration it joined with.
func TestDemotedStaysDemoted(t *testing.T) {
	t.Parallel()
	leader := founder(t)
	config := joiner(t, leader, "n2")
	n := join(t, config)
	eventually(t, "the join is over", func() bool { return !n.dir.joining() && !n.joining.Load() })
	leader = leaderAmong(t, []*Node{leader, n})
	if leader == n {
		t.Fatal("the new node leads, though nobody has gone")
	}
	if err := leader.Demote(bounded(t), "n2"); err != nil {
		t.Fatal(err)
	}
	awaitMember(t, n, "n2", false)
	stop(t, n)
	n = start(t, config)
	waitReady(t, n)
	revision := put(t, leader, "k", "v")
	if _, err := n.Get(bounded(t), "k", Stale(revision)); err != nil {
		t.Fatal(err)
	}
	if n.joining.Load() || n.votes("n2") {
		t.Errorf("n2 joins again: %v", memberNames(leader))
	}
}

// takenIn returns a cluster of one, and a node that it has taken in, which has stopped before
// it asked for its vote.
func takenIn(t *testing.T) (leader, n *Node, config Config) {
	t.Helper()
	leader = founder(t)
	config = joiner(t, leader, "n2")
	config.Nonvoter = true // as far as it came
	n = join(t, config)
	revision := put(t, leader, "k", "v")
	if _, err := n.Get(bounded(t), "k", Stale(revision)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the join is over", func() bool { return !n.joining.Load() })
	stop(t, n)
	return leader, n, config
}

// TestJoinAfterCrash: a node that was killed between being taken in and being
// promoted finishes the join at its next start.
func TestJoinAfterCrash(t *testing.T) {
	t.Parallel()
	leader, n, config := takenIn(t)
	config.Nonvoter = false
	if err := os.WriteFile(n.dir.join(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n = join(t, config)
	awaitMember(t, leader, "n2", true)
	eventually(t, "the join is over", func() bool { return !n.dir.joining() && !n.joining.Load() })
}

// TestJoinAfterCrashWithVote: a node that was killed between being promoted and noting that
// it has joined goes on as the voter that it is.
func TestJoinAfterCrashWithVote(t *testing.T) {
	t.Parallel()
	leader := founder(t)
	config := joiner(t, leader, "n2")
	config.HTTP = "127.0.0.1:0"
	n3 := join(t, joiner(t, leader, "n3")) // a majority without n2
	awaitMember(t, leader, "n3", true)
	n := join(t, config)
	awaitMember(t, leader, "n2", true)
	eventually(t, "the join is over", func() bool { return !n.joining.Load() })
	stop(t, n)
	leaderAmong(t, []*Node{leader, n3})
	if err := n.dir.noteTakenIn(); err != nil {
		t.Fatal(err)
	}
	n = join(t, config)
	eventually(t, "the join is over", func() bool { return !n.dir.joining() && !n.joining.Load() })
	awaitMember(t, n, "n2", true)
}

// TestRemovedWhileJoining: a node that was removed before it had noted that it has joined,
// while it was away, knows it, and does not join again by itself.
func TestRemovedWhileJoining(t *testing.T) {
	t.Parallel()
	leader, n, config := takenIn(t)
	if err := leader.Remove(bounded(t), "n2"); err != nil {
		t.Fatal(err)
	}
	if err := n.dir.noteTakenIn(); err != nil {
		t.Fatal(err)
	}
	config.Nonvoter, config.ElectionTimeout = false, 250*time.Millisecond
	for range 2 {
		n = start(t, config)
		wantRemoved(t, n, "k")
		eventually(t, "the join is over", func() bool { return !n.dir.joining() && !n.joining.Load() })
		if _, ok := leader.member("n2"); ok {
			t.Errorf("n2 has joined again: %v", memberNames(leader))
		}
		stop(t, n)
	}
}

// TestJoinWaitsForALeader: a node that joins keeps asking while nobody answers, as
// when all nodes are started together.
func TestJoinWaitsForALeader(t *testing.T) {
	t.Parallel()
	c := serving(t)
	c.ID, c.Raft, c.HTTP = "n1", freeport.Address(t), freeport.Address(t)
	joins := serving(t)
	joins.ID, joins.Raft, joins.Join = "n2", freeport.Address(t), "http://"+c.HTTP
	c.ElectionTimeout, joins.ElectionTimeout = 2*time.Second, 2*time.Second
	type result struct {
		n   *Node
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := Start(bounded(t), joins)
		done <- result{n, err}
	}()
	eventually(t, "the node that joins listens", func() bool {
		var who introduction
		return newPeers(nil).get(bounded(t), joins.Raft, identityPath, &who) == nil && who.ID == "n2"
	})
	select {
	case r := <-done:
		t.Fatalf("it has joined nobody: %v", r.err)
	default:
	}
	leader := start(t, c)
	r := within(t, "the join", func() result { return <-done })
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { stop(t, r.n) })
	awaitMember(t, leader, "n2", true)
}

// TestGrowFromOne: the default, a single node without a Raft address, becomes a
// cluster of three that outlives it: its own place in the membership is corrected.
func TestGrowFromOne(t *testing.T) {
	t.Parallel()
	c := serving(t)
	c.ID = "n1"
	n1 := lead(t, c)
	revision := put(t, n1, "k", "v")
	stop(t, n1)
	c.Raft, c.ElectionTimeout = freeport.Address(t), 2*time.Second
	n1 = lead(t, c)
	n2 := join(t, joiner(t, n1, "n2"))
	awaitMember(t, n1, "n2", true)
	n3 := join(t, joiner(t, n1, "n3"))
	awaitMember(t, n1, "n3", true)
	for _, m := range n1.Members() {
		if m.ID == "n1" && m.Raft != c.Raft {
			t.Errorf("n1 is at %q; want %q", m.Raft, c.Raft)
		}
	}
	stop(t, n1)
	rest := leaderAmong(t, []*Node{n2, n3})
	e, err := rest.Get(bounded(t), "k")
	if err != nil || e.Revision != revision {
		t.Errorf("k is at %d, %v; want %d", e.Revision, err, revision)
	}
	n1 = start(t, c)
	waitReady(t, n1)
}
