package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
)

const (
	timedPuts  = 200
	stuckClogs = 3
	// clogged is less than what a subscriber is cut off for after a while, by more than what
	// the kernel takes for one and not for another.
	clogged = behind / 2
	// noise is less than the 2 ms that each stuck subscriber would cost each event if the
	// broker waited for it.
	noise = 3 * time.Millisecond
)

// TestStuckSubscribersDelayNobody has three subscribers that do not read, with half as much
// waiting for them as they are cut off for. A healthy one has each event as soon as without
// them.
func TestStuckSubscribersDelayNobody(t *testing.T) {
	c := single(t)
	c.InMemory, c.DataDir = true, ""
	n := lead(t, c)
	arrived := make(chan time.Time, 1)
	conn := connect(t, n.NATSURL())
	if _, err := conn.Subscribe("watch.small", func(*natsgo.Msg) { arrived <- time.Now() }); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	latency := func() []time.Duration {
		all := make([]time.Duration, 0, timedPuts)
		for range timedPuts {
			begun := time.Now()
			put(t, n, "small", "x")
			all = append(all, within(t, "the healthy subscriber has an event", func() time.Time { return <-arrived }).Sub(begun))
		}
		slices.Sort(all)
		return all
	}
	p := func(all []time.Duration, percent int) time.Duration { return all[len(all)*percent/100] }
	for attempt := 1; ; attempt++ { // the machine may be busy for one of the two
		alone := latency()
		beside := besideStuck(t, n, latency)
		t.Logf("alone: p50 %v, p99 %v; beside stuck ones: p50 %v, p99 %v", p(alone, 50), p(alone, 99), p(beside, 50), p(beside, 99))
		if p(beside, 50) <= p(alone, 50)+noise {
			break
		}
		if attempt == 5 {
			t.Errorf("beside %d stuck subscribers half of the events take more than %v, alone %v", stuckClogs, p(beside, 50), p(alone, 50))
			break
		}
	}
	v, err := n.broker.server.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	if v.StalledClients > 0 {
		t.Errorf("the broker made the publisher wait %d times for a stuck subscriber", v.StalledClients)
	}
}

// besideStuck returns what latency does while three subscribers are stuck and not cut off.
func besideStuck(t *testing.T, n *Node, latency func() []time.Duration) (beside []time.Duration) {
	t.Helper()
	large := string(make([]byte, 256<<10))
	eventually(t, "three subscribers are stuck, and not cut off yet, all the while", func() bool {
		for range stuckClogs {
			neverRead(t, n.NATSURL())
		}
		for i := 0; len(waitingFor(t, n)) < stuckClogs; i++ {
			put(t, n, fmt.Sprintf("large.%d", i), large)
			if i > 1000 {
				return false // one was cut off before the last was stuck
			}
		}
		held := waitingFor(t, n)
		beside = latency()
		return slices.Equal(held, waitingFor(t, n))
	})
	eventually(t, "they are cut off", func() bool { return len(waitingFor(t, n)) == 0 })
	return beside
}

// waitingFor returns the numbers of the connections for which much waits.
func waitingFor(t *testing.T, n *Node) (stuck []uint64) {
	t.Helper()
	z, err := n.broker.server.Connz(&server.ConnzOptions{Sort: server.ByCid})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range z.Conns {
		if c.Pending > clogged {
			stuck = append(stuck, c.Cid)
		}
	}
	return stuck
}
