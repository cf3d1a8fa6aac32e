package nats

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// amongOthers is a bridge whose node leads the nodes b and c, for which the test speaks.
func amongOthers(t *testing.T, after uint64) *bridge {
	t.Helper()
	a := NewAudience(testNode)
	a.SetMembers([]string{testNode, "b", "c"})
	b := newBridge(t, bridgeOptions{after: after, audience: a})
	b.present()
	return b
}

// silence has it be so long ago that the others were heard that they do not count.
func (b *bridge) silence() { b.heardAgo(AckPatience + time.Millisecond) }

// present has them count for as long as the test takes, until they acknowledge something.
func (b *bridge) present() { b.heardAgo(-patience) }

func (b *bridge) heardAgo(d time.Duration) {
	b.publisher.o.Audience.lead(testTerm, b.publisher.Safe(), time.Now().Add(-d))
}

func (b *bridge) untilSafe(revision uint64) {
	b.t.Helper()
	b.heard.until(b.ctx, "a beacon says what is safe", func() bool {
		n := len(b.heard.beacons)
		return n > 0 && b.heard.beacons[n-1].Safe >= revision
	})
}

// What the broker has confirmed is safe once the others have it, and beacons say so.
func TestPublisherSafe(t *testing.T) {
	t.Parallel() // it mostly waits
	b := amongOthers(t, 5).run()
	b.push(10)
	b.waitConfirmed(15)
	if got := b.publisher.Safe(); got != 5 {
		t.Fatalf("%d is safe before the others have said anything, want 5", got)
	}
	b.publisher.Acknowledge(ackOf("b", 1, 15))
	if got := b.publisher.Safe(); got != 5 {
		t.Fatalf("%d is safe before c has said anything, want 5", got)
	}
	b.publisher.Acknowledge(ackOf("c", 1, 12))
	b.untilSafe(12)
	b.publisher.Acknowledge(ackOf("c", 2, 99)) // by an earlier leader, which had got further
	b.untilSafe(15)
	if got := b.publisher.Safe(); got != 15 {
		t.Fatalf("%d is safe, want what is confirmed, 15", got)
	}
	b.push(10)
	b.silence()
	b.untilSafe(25)
	for i, beacon := range b.heard.beacons {
		if beacon.Safe > beacon.Published || i > 0 && beacon.Safe < b.heard.beacons[i-1].Safe {
			t.Errorf("beacon %+v follows %+v", beacon, b.heard.beacons[i-1])
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if want := []uint64{12, 15, 25}; !slices.Equal(b.confirmed, want) {
		t.Errorf("Safe was called with %v, want %v", b.confirmed, want)
	}
}

// A node that has lost something has a reset announced, at once, though it says so again
// and again.
func TestPublisherAnnouncesWhatANodeLost(t *testing.T) {
	b := amongOthers(t, 0).run()
	b.push(20)
	b.waitConfirmed(20)
	k := ackOf("b", 1, 20)
	k.Lost = &Range{5, 21} // it cannot have been told of 21
	b.publisher.Acknowledge(k)
	k.Lost = &Range{5, 10}
	for k.Seq = 2; k.Seq < 20; k.Seq++ {
		b.publisher.Acknowledge(k)
	}
	b.heard.until(b.ctx, "a beacon repeats the reset", func() bool {
		n := len(b.heard.beacons)
		return n > 0 && b.heard.beacons[n-1].Resets > 0
	})
	if want := []Reset{{testCluster, testTerm, Range{5, 10}}}; !slices.Equal(b.heard.resets, want) {
		t.Fatalf("announced %v, want %v", b.heard.resets, want)
	}
	if got := b.publisher.Resets(); got != 1 {
		t.Errorf("%d resets are counted, want 1", got)
	}
}

// The first event of a term waits for nodes that live, until they can tell what reaches
// them, also over a lost connection; not for ever, and for nobody else.
func TestPublisherMeetsWhoLives(t *testing.T) {
	began := func(meeting time.Duration) *bridge {
		t.Helper()
		a := NewAudience(testNode)
		a.SetMembers([]string{testNode, "b", "c"})
		b := newBridge(t, bridgeOptions{audience: a, lives: func(node string) bool { return node == "b" }})
		b.publisher.meeting = meeting
		b.heard.overtaken = true
		b.run().push(10)
		return b
	}
	waits := func(b *bridge, why string) {
		t.Helper()
		n := len(b.heard.beacons)
		b.heard.until(b.ctx, "beacons come", func() bool { return len(b.heard.beacons) >= n+3 })
		if len(b.heard.events) > 0 {
			t.Fatalf("%d events came, %s", len(b.heard.events), why)
		}
	}
	b := began(time.Hour)
	waits(b, "and b has said nothing")
	b.publisher.Acknowledge(ackOf("b", 1, 0))
	waits(b, "and b can tell nothing")
	other := ackOf("b", 2, 0)
	other.Term, other.Proven = testTerm-1, true
	b.publisher.Acknowledge(other)
	c := ackOf("c", 2, 0)
	c.Proven = true
	b.publisher.Acknowledge(c)
	waits(b, "and b has said nothing of this term")
	b.proxy.cut()
	waits(b, "over another connection")
	k := ackOf("b", 3, 0)
	k.Proven = true
	b.publisher.Acknowledge(k)
	b.heard.untilCovered(b.ctx, 10)
	b.proxy.cut()
	b.publisher.Acknowledge(ackOf("b", 4, 0)) // over another route
	b.push(10)
	b.heard.untilCovered(b.ctx, 20)

	b = began(retryPause)
	b.heard.untilCovered(b.ctx, 10)
}

// A node whose route is not the one that the last beacon named gets another beacon at
// once, so that it can tell soon what it has.
func TestPublisherNamesRoutesAtOnce(t *testing.T) {
	began := time.Now()
	b := amongOthers(t, 0).run()
	for seq := uint64(1); seq <= 20; seq++ {
		k := ackOf("b", seq, 0)
		k.Routes = map[string]uint64{testNode: 100 + seq, "c": 1}
		b.publisher.Acknowledge(k)
		b.heard.until(b.ctx, "a beacon names the route", func() bool {
			n := len(b.heard.beacons)
			return n > 0 && b.heard.beacons[n-1].Routes["b"] == 100+seq
		})
	}
	if took := time.Since(began); took > 10*BeaconPeriod {
		t.Errorf("20 beacons came within %v; one each %v is no more than the clock would", took, BeaconPeriod)
	}
}

// A leader that stops waits until the others have all, and know it; for one that is
// silent not long.
func TestPublisherDrainsToTheOthers(t *testing.T) {
	t.Parallel() // it mostly waits
	b := amongOthers(t, 0).run()
	b.push(100)
	drained := make(chan error, 1)
	drain := func() { go func() { drained <- b.publisher.Drain(b.ctx, b.revision) }() }
	held := func(why string) {
		t.Helper()
		n := len(b.heard.beacons) // each by the clock, but for those of Drain
		b.heard.until(b.ctx, "beacons come", func() bool { return len(b.heard.beacons) > n+1 })
		select {
		case err := <-drained:
			t.Fatalf("Drain returned %v; %s", err, why)
		default:
		}
	}
	newest := func() uint64 { return b.heard.beacons[len(b.heard.beacons)-1].Seq }
	drain()
	b.heard.until(b.ctx, "a beacon tells the others how far it is", func() bool {
		n := len(b.heard.beacons)
		return n > 0 && b.heard.beacons[n-1].Published == b.revision
	})
	held("nobody has answered")
	b.publisher.Acknowledge(ackOf("b", newest(), b.revision))
	held("c has not answered")
	b.publisher.Acknowledge(ackOf("c", newest(), b.revision))
	b.untilSafe(b.revision)
	b.present()
	held("nobody has answered the last beacon")
	for _, node := range []string{"b", "c"} {
		b.publisher.Acknowledge(ackOf(node, newest(), b.revision))
	}
	if err := receive(t, b.ctx, "Drain returns", drained); err != nil {
		t.Fatal(err)
	}

	b.present()
	b.push(100)
	drain()
	b.heard.untilCovered(b.ctx, b.revision)
	held("nobody has answered")
	b.silence()
	if err := receive(t, b.ctx, "Drain returns though nobody answers", drained); err != nil {
		t.Fatal(err)
	}
	b.heard.settle(b.ctx)
	if last := b.heard.beacons[len(b.heard.beacons)-1]; last.Safe != b.revision {
		t.Errorf("the last beacon is %+v, want %d to be safe", last, b.revision)
	}

	b.present()
	b.push(1)
	ctx, cancel := context.WithTimeoutCause(b.ctx, 10*time.Millisecond, errOwnerStopped)
	defer cancel()
	if err := b.publisher.Drain(ctx, b.revision); !errors.Is(err, errOwnerStopped) {
		t.Errorf("error is %v, want the cause of the context", err)
	}
}
