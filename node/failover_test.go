package node

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/watchcast/watchcast/nats"
)

const stalledWrites = 50

// TestFailOver kills the leader while its route to one of the two other brokers stands
// still: what that broker has not received the next leader publishes again, whoever that is.
func TestFailOver(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(*roads) *Node{
		"near": func(r *roads) *Node { return r.near },
		"far":  func(r *roads) *Node { return r.far },
		"any":  func(*roads) *Node { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoads(t)
			r.stall()
			last := r.put(r.leader, "stalled", stalledWrites)
			eventually(t, "the near node has heard that all is published", func() bool { return r.near.published.Load() >= last })
			if missed, _ := r.missed(r.far); len(missed) < stalledWrites/2 {
				t.Fatalf("%d changes did not come over the route that stands still; want nearly all of %d", len(missed), stalledWrites)
			}
			r.crash(next(r))
			went := time.Now()
			r.finish()
			r.wantNothingMissed()
			r.noResets(went)
		})
	}
}

// TestFailOverAfterLongStall: a route that stands still for so long that the leader does
// not wait for the node at its end any more. Its subscribers are told what they missed.
func TestFailOverAfterLongStall(t *testing.T) {
	t.Parallel()
	r := newRoads(t)
	r.stall()
	first := r.put(r.leader, "stalled", 1)
	last := r.put(r.leader, "stalled too", stalledWrites)
	eventually(t, "the far node is not waited for", func() bool {
		known, _ := r.near.announced.get()
		return known.Revision >= last
	})
	r.crash(r.near)
	r.finish()
	r.heard[r.far].until("a reset", func(s *stream) bool { return len(s.resets) > 0 })
	r.wantNothingMissed()
	if _, told := r.missed(r.far); !slices.Contains(told, first) || !slices.Contains(told, last) {
		t.Errorf("the far subscriber was told of %d; want %d to %d, which it cannot have received", told, first, last)
	}
	wantOneRange(t, r.heard[r.far].losses())
}

// wantOneRange holds that the same loss is not announced again and again: as often as one
// that is not confirmed to have come at most.
func wantOneRange(t *testing.T, resets []nats.Reset) {
	t.Helper()
	for _, r := range resets {
		if r.Range != resets[0].Range {
			t.Errorf("more than one range is announced as lost: %+v", resets)
			return
		}
	}
}

// TestRouteFormedAnew: what was on a route that broke is announced as lost, though the
// leader stays, and nothing else is.
func TestRouteFormedAnew(t *testing.T) {
	t.Parallel()
	r := newRoads(t)
	for _, n := range r.nodes {
		if routes := n.broker.server.NumRoutes(); routes != 2 {
			t.Fatalf("the broker of %s has %d routes to two others; want one to each", n.ID(), routes)
		}
	}
	r.cut() // with nothing on it, there is nothing to announce
	r.formed()
	r.settle()
	r.heard[r.far].noResets()

	nearRoute := func() [2]uint64 { return [2]uint64{r.near.routes()[r.leader.ID()], r.leader.routes()[r.near.ID()]} }
	route := nearRoute()
	r.stall()
	first := r.put(r.leader, "stalled", 1)
	last := r.put(r.leader, "stalled too", stalledWrites)
	eventually(t, "all is published", func() bool { return r.near.published.Load() >= last })
	r.cut()
	r.free()
	r.heard[r.far].untilLost("a reset of what was lost", first, last)
	r.settle()
	r.finish()
	r.wantNothingMissed()
	if now := nearRoute(); now != route {
		t.Logf("the near node's routes from and to the leader were %v and are %v: a busy machine has them break", route, now)
	} else if missed, told := r.missed(r.near); len(missed)+len(told) > 0 {
		t.Errorf("the near subscriber has not received %d and %d, though its route has not broken", missed, told)
	}
	before := r.leader.Status().Publish.Resets
	r.settle()
	if now := r.leader.Status().Publish.Resets; now != before || before == 0 {
		t.Errorf("%d resets were announced, then %d; want no more once it was heard", before, now)
	}
}

// TestStopOfLeader: a leader that is stopped leaves nothing to be published again.
func TestStopOfLeader(t *testing.T) {
	t.Parallel()
	r := newRoads(t)
	last := r.put(r.leader, "before", stalledWrites)
	r.gone = true
	stop(t, r.leader)
	went := time.Now()
	r.finish()
	r.wantNothingMissed()
	r.noResets(went)
	if went.Sub(r.began) >= nats.AckPatience {
		return // the leader has not waited for everybody
	}
	for n, s := range r.heard {
		s.mu.Lock()
		counts := make(map[uint64]int)
		for _, e := range s.events {
			if counts[e.Revision]++; counts[e.Revision] > 1 && e.Revision <= last {
				t.Errorf("%s: %s of revision %d came again", n.ID(), e.Key, e.Revision)
				break
			}
		}
		s.mu.Unlock()
	}
}

// TestDeadNodeHoldsUpNothing: what is safe goes on beside a node that has just died. If it
// waited until that is silent for too long, and a leader died every few seconds, each would
// publish again all that the ones before it had.
func TestDeadNodeHoldsUpNothing(t *testing.T) {
	t.Parallel()
	// If it waited: the node was heard this long before its death at most.
	const waiting = nats.AckPatience - nats.BeaconPeriod
	var took []time.Duration
	for range 5 { // a busy machine may need longer; not each time
		r := newRoads(t)
		kill(t, r.far, nil)
		went := time.Now()
		r.settle()
		took = append(took, time.Since(went))
		if took[len(took)-1] < waiting {
			return
		}
	}
	t.Errorf("it took %v until what was written was safe, want less than %v", took, waiting)
}

// TestNewLeaderMeetsWhoLives: a new leader that has no route to a node that lives does not
// publish at once what that node's subscribers could not get; nor does it wait for ever. It
// takes writes meanwhile.
func TestNewLeaderMeetsWhoLives(t *testing.T) {
	t.Parallel()
	r := newRoads(t)
	k, _ := r.road(r.near, r.far)
	k.refuse(true)
	eventually(t, "there is no route", func() bool { return r.between() == [2]uint64{} })
	went := time.Now()
	r.crash(r.near)
	waitReady(t, r.near)
	last := put(t, r.near, "meanwhile", "x")
	r.heard[r.near].seen(last)
	if waited := time.Since(went); waited < nats.MeetPatience {
		t.Errorf("the first event came after %v; want no less than %v without a route", waited, nats.MeetPatience)
	}
	k.refuse(false)
	r.heard[r.far].untilLost("a reset of what could not come", last, last)
	r.finish()
	r.wantNothingMissed()
}

// TestStopOfLeaderBesideDeadNode: it does not wait for a node that is dead for long, and
// what has reached the living ones is recorded.
func TestStopOfLeaderBesideDeadNode(t *testing.T) {
	t.Parallel()
	r := newRoads(t)
	kill(t, r.far, nil)
	last := r.put(r.leader, "before", 20)
	stop(t, r.leader)
	if got := record(t, Config{DataDir: filepath.Dir(r.leader.dir.announced())}); got.Revision != last {
		t.Errorf("recorded %+v, want revision %d", got, last)
	}
}
