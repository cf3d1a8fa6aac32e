package node

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"
)

// follow returns a function that waits until a watch of the membership yields what
// is wanted.
func follow(t *testing.T, n *Node) (until func(what string, ok func(Membership) bool)) {
	t.Helper()
	next, stop := iter.Pull(n.WatchMembers(bounded(t)))
	t.Cleanup(stop)
	return func(what string, ok func(Membership) bool) {
		t.Helper()
		var last Membership
		for {
			m, more := next()
			if !more {
				t.Fatalf("%s: not before the end; the last is %+v", what, last)
			}
			if last = m; ok(m) {
				return
			}
		}
	}
}

// TestWatchMembers: watchers on the leader and on a follower see who leads and who
// is a member at once, and every change that stays.
func TestWatchMembers(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3, withHTTP)
	leader, others := split(t, nodes)
	type watching struct {
		on    *Node
		until func(string, func(Membership) bool)
	}
	var watches []watching
	for _, n := range []*Node{leader, others[0]} { // the leader leaves in the end
		w := watching{n, follow(t, n)}
		w.until("the present state on "+n.ID(), func(m Membership) bool {
			return m.Leader == leader.ID() && len(m.Members) == 3
		})
		watches = append(watches, w)
	}
	everywhere := func(what string, ok func(Membership) bool) {
		t.Helper()
		for _, w := range watches {
			w.until(what+" on "+w.on.ID(), ok)
		}
	}
	has := func(id string, voter bool) func(Membership) bool {
		return func(m Membership) bool {
			return slices.ContainsFunc(m.Members, func(m Member) bool { return m.ID == id && m.Voter == voter })
		}
	}
	c := joiner(t, leader, "n4")
	c.Nonvoter = true
	join(t, c)
	everywhere("a non-voter", has("n4", false))
	if err := leader.Promote(bounded(t), "n4"); err != nil {
		t.Fatal(err)
	}
	everywhere("a voter", has("n4", true))
	if err := leader.Remove(bounded(t), "n4"); err != nil {
		t.Fatal(err)
	}
	everywhere("three members", func(m Membership) bool { return len(m.Members) == 3 })
	if err := leader.handOver(bounded(t)); err != nil {
		t.Fatal(err)
	}
	everywhere("another leader", func(m Membership) bool {
		i := slices.IndexFunc(m.Members, func(m Member) bool { return m.Leader })
		return i >= 0 && m.Leader != leader.ID() && m.Members[i].ID == m.Leader
	})
	if err := leader.Leave(bounded(t)); err != nil {
		t.Fatal(err)
	}
	watches[1].until("two members", func(m Membership) bool { return len(m.Members) == 2 })
}

// TestWatchMembersAfterSnapshot: a node that gets a snapshot in place of the log sees
// the members that came with it.
func TestWatchMembersAfterSnapshot(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3, withHTTP, inMemory)
	leader, _ := split(t, nodes)
	away, new := joiner(t, leader, "n4"), joiner(t, leader, "n5")
	away.Nonvoter, new.Nonvoter = true, true
	n := join(t, away)
	awaitMember(t, n, "n4", false)
	eventually(t, "the join is over", func() bool { return !n.joining.Load() })
	stop(t, n)
	join(t, new)
	put(t, leader, "k", "v")
	keepNoLog(t, leader)
	takeSnapshot(t, leader)
	n = start(t, away)
	follow(t, n)("the new member", func(m Membership) bool { return len(m.Members) == 5 })
	wantSnapshot(t, n)
}

// TestWatchMembersSlow: a consumer that takes nothing for a while holds up nobody,
// and is then owed one value, the newest, however much has changed.
func TestWatchMembersSlow(t *testing.T) {
	n := &Node{roster: newRoster(), leaving: t.Context()} // one in which nothing else changes
	_, changed := n.roster.get()
	n.roster.set(Membership{Members: []Member{}})
	select {
	case <-changed:
		t.Error("what did not change is told")
	default:
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	entered, release := make(chan struct{}), make(chan struct{})
	var seen []string
	wg.Go(func() {
		for m := range n.WatchMembers(ctx) {
			seen = append(seen, m.Leader)
			switch m.Leader {
			case "":
				close(entered)
				<-release
			case "last":
				cancel()
			}
		}
	})
	<-entered
	for i := range 1000 {
		n.roster.set(Membership{Leader: fmt.Sprint(i)})
	}
	n.roster.set(Membership{Leader: "last"})
	close(release)
	within(t, "the consumer", func() struct{} { wg.Wait(); return struct{}{} })
	if !slices.Equal(seen, []string{"", "last"}) {
		t.Errorf("the consumer was given %q", seen)
	}
}

// TestWatchMembersEnds: with the node; and what did not change is not told again.
func TestWatchMembersEnds(t *testing.T) {
	t.Parallel()
	n := founder(t)
	for m := range n.WatchMembers(t.Context()) {
		if len(m.Members) != 1 || m.Members[0].ID != "n1" {
			t.Errorf("at once there is %+v", m)
		}
		break
	}
	var last Membership
	repeats := 0
	ended := make(chan struct{})
	leads := make(chan struct{}, 1)
	go func() {
		defer close(ended)
		for m := range n.WatchMembers(context.Background()) {
			if m.equal(last) {
				repeats++
			}
			if last = m; m.Leader == "n1" {
				select {
				case leads <- struct{}{}:
				default:
				}
			}
		}
	}()
	within(t, "the first leader", func() struct{} { return <-leads })
	put(t, n, "k", "v")
	stop(t, n)
	within(t, "the watch of a node that closes", func() struct{} { <-ended; return struct{}{} })
	if repeats > 0 {
		t.Errorf("%d values came twice", repeats)
	}
	for m := range n.WatchMembers(context.Background()) {
		t.Errorf("a closed node yields %+v", m)
	}
}

// TestMemberWithoutAddress: of a node that listens for no others no address is told.
func TestMemberWithoutAddress(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	if members := n.Members(); len(members) != 1 || members[0] != (Member{ID: n.ID(), Voter: true, Leader: true}) {
		t.Errorf("the members are %+v", members)
	}
}

// TestMembers: on the leader, what it last heard of the others; elsewhere not.
func TestMembers(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	put(t, leader, "k", "v")
	eventually(t, "the leader has heard that the others have its log", func() bool {
		for _, m := range leader.Members() {
			if m.ID == leader.ID() {
				if !m.Leader || !m.Voter || m.Contact != nil || m.Raft != leader.config.Raft {
					t.Fatalf("the leader is %+v", m)
				}
				continue
			}
			if m.Leader || !m.Voter || m.Contact == nil || m.Contact.LastIndex < leader.Revision() || m.Contact.AgoMS > (2*time.Second).Milliseconds() {
				return false
			}
		}
		return len(leader.Members()) == 3
	})
	members := others[0].Members()
	if !slices.IsSortedFunc(members, func(a, b Member) int { return len(a.ID) - len(b.ID) }) || len(members) != 3 {
		t.Errorf("members are %+v", members)
	}
	for _, m := range members {
		if m.Contact != nil || m.Leader != (m.ID == leader.ID()) {
			t.Errorf("on %s: %+v", others[0].ID(), m)
		}
	}
}
