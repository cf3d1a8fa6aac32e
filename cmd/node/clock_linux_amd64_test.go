package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/nats"
)

// putFor sets a key that lives for ttl, and returns its revision.
func putFor(t *testing.T, conn *natsgo.Conn, key string, ttl time.Duration) string {
	t.Helper()
	m := natsgo.NewMsg("kv.put." + key)
	m.Header.Set(nats.HeaderTTL, ttl.String())
	reply, err := conn.RequestMsg(m, limit)
	if err != nil || reply.Header.Get(nats.HeaderRev) == "" {
		t.Fatalf("put %s: %v, %v", key, err, reply)
	}
	return reply.Header.Get(nats.HeaderRev)
}

// eventOf returns the next event of a key that is of that operation. Others may come
// before.
func eventOf(t *testing.T, events *natsgo.Subscription, key, op string) *natsgo.Msg {
	t.Helper()
	for ctx := bounded(t); ; {
		m, err := events.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatalf("no %s of %s: %v", op, key, err)
		}
		if m.Subject == "watch."+key && m.Header.Get(nats.HeaderOp) == op {
			return m
		}
	}
}

// expiryOf returns when a key has expired, as soon as it has. A test that looks at its
// events one after the other may be late.
func expiryOf(t *testing.T, conn *natsgo.Conn, key string) (at func() time.Time) {
	t.Helper()
	expired := make(chan time.Time, 1)
	if _, err := conn.Subscribe("watch."+key, func(m *natsgo.Msg) {
		if m.Header.Get(nats.HeaderOp) == "expire" {
			select {
			case expired <- time.Now():
			default: // it was repeated
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	return func() time.Time {
		t.Helper()
		select {
		case at := <-expired:
			return at
		case <-bounded(t).Done():
			t.Fatalf("%s does not expire", key)
			panic("unreachable")
		}
	}
}

// follows waits until a node has a revision. Raft asks one that was away for a while
// again only after seconds.
func (c *processes) follows(i int, revision uint64) {
	c.t.Helper()
	addr := c.nodes[i].httpAddr()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx := bounded(c.t); ; {
		var status struct{ Revision uint64 }
		resp, err := http.Get("http://" + addr + "/v1/status")
		if err != nil {
			c.t.Fatal(err)
		}
		err = json.NewDecoder(resp.Body).Decode(&status)
		resp.Body.Close()
		if err != nil {
			c.t.Fatal(err)
		}
		if status.Revision >= revision {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("it is at revision %d, not at %d", status.Revision, revision)
		}
	}
}

// TestWallClockJumps sets the wall clocks of the nodes of a cluster forward and back by
// days, each to another time, while they run and elect: no key goes early, none stays
// for longer than without a leader and 10 s, revisions go upwards, and nothing is lost.
// The times of changes show that the nodes saw it.
func TestWallClockJumps(t *testing.T) {
	c := newCluster(t, 3, nil)
	clocks := make([]*wallClock, 3)
	for i := range 3 {
		c.nodes[i], clocks[i] = startWithClock(t, c.env, c.args[i]...)
	}
	for _, p := range c.nodes {
		p.ready()
	}
	leader := c.leader()
	others := []int{(leader + 1) % 3, (leader + 2) % 3}
	conn := connect(t, "nats://"+c.nats[others[0]])
	events, err := conn.SubscribeSync("watch.>")
	if err != nil {
		t.Fatal(err)
	}
	shortEnds, middleEnds := expiryOf(t, conn, "short"), expiryOf(t, conn, "middle")
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	acknowledged := putSome(t, conn, "before", 5)

	// shows puts a key and compares what the event says of its time.
	shows := func(key string, hours ...time.Duration) {
		t.Helper()
		for k, revision := range putSome(t, conn, key, 1) {
			acknowledged[k] = revision
		}
		text := eventOf(t, events, key+".0", "put").Header.Get(nats.HeaderTime)
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hours {
			if d := at.Sub(time.Now().Add(h * time.Hour)).Abs(); d < time.Hour/2 {
				return
			}
		}
		t.Fatalf("the change is of %v, which is none of %v hours from now: the clock did not jump", at, hours)
	}

	const short, middle = 3 * time.Second, 6 * time.Second
	long := putFor(t, conn, "long", time.Hour)
	asked := time.Now() // by the monotonic clock, as all that is compared here
	putFor(t, conn, "short", short)
	putFor(t, conn, "middle", middle)
	clocks[others[0]].set(-100)
	clocks[others[1]].set(50)
	for i, hours := range []int8{100, -100, 120, -1, 3} {
		clocks[leader].set(hours)
		shows(fmt.Sprint("jump", i), time.Duration(hours))
	}
	if lived := shortEnds().Sub(asked); lived < short || lived > short+10*time.Second {
		t.Errorf("a key of %v lived for %v, with one leader", short, lived)
	}

	c.nodes[leader].kill()
	gone := time.Now()
	shows("elected", -100, 50)
	without := time.Since(gone) // a leader, at most
	for _, i := range others {
		clocks[i].set(-120)
	}
	shows("back", -120)
	if lived := middleEnds().Sub(asked); lived < middle || lived > middle+without+10*time.Second+limit/3 {
		t.Errorf("a key of %v lived for %v, of which %v without a leader", middle, lived, without)
	}
	wantKey(t, conn, "long", "", long)

	c.args[leader] = with(c.args[leader], "--http", "127.0.0.1:0")
	c.restart(leader)
	for key, revision := range putSome(t, conn, "after", 5) {
		acknowledged[key] = revision
	}
	c.follows(leader, acknowledged["after.4"])
	c.wantAll(acknowledged)
	last := uint64(0)
	for _, key := range []string{"before.4", "jump0.0", "jump1.0", "jump2.0", "jump3.0", "jump4.0", "elected.0", "back.0", "after.0"} {
		if acknowledged[key] <= last {
			t.Errorf("%s is at revision %d; an earlier change at %d", key, acknowledged[key], last)
		}
		last = acknowledged[key]
	}
}
