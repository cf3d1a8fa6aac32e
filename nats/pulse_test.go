package nats

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestPulse: what a beacon gives reason to doubt.
func TestPulse(t *testing.T) {
	now := time.Now()
	first := Beacon{Cluster: "c", Term: 3, Seq: 7, After: 6, Published: 100, Resets: 1}
	for _, c := range []struct {
		name     string
		after    time.Duration
		change   func(*Beacon)
		silent   bool
		cause    string
		replaced bool
		heard    bool // it counts as a sign of life
	}{
		{name: "the next one", change: func(b *Beacon) { b.Seq, b.After = 8, 7 }, heard: true},
		{name: "the same one again", change: func(*Beacon) {}},
		{name: "one of a connection that the leader had lost", change: func(b *Beacon) { b.Seq, b.After = 5, 4 }},
		{name: "the first one of the leader's new connection", change: func(b *Beacon) { b.Seq, b.After = 10, 6 }, heard: true},
		{name: "one is missing", change: func(b *Beacon) { b.Seq, b.After = 9, 8 }, cause: "a beacon is missing", heard: true},
		{name: "a new leader", change: func(b *Beacon) { b.Term, b.Seq, b.After, b.Resets = 4, 1, 0, 0 }, cause: "there is a new leader", heard: true},
		{name: "an old leader", change: func(b *Beacon) { b.Term, b.Resets = 2, 9 }},
		{name: "an old leader behind a silence", after: putBack - time.Millisecond, change: func(b *Beacon) { b.Term = 2 }},
		{name: "one that was passed, behind a silence", after: putBack - time.Millisecond, change: func(b *Beacon) { b.Seq, b.After = 5, 4 }},
		{name: "files of an earlier time lead to the same term", after: putBack, change: func(b *Beacon) { b.Seq, b.After = 1, 0 }, replaced: true, heard: true},
		{name: "files of an earlier time were put back", after: putBack, change: func(b *Beacon) { b.Term = 2 }, replaced: true, heard: true},
		{name: "a reset", change: func(b *Beacon) { b.Seq, b.After = 8, 7; b.Resets++ }, cause: "the leader may not have published everything", heard: true},
		{name: "behind a silence", silent: true, change: func(b *Beacon) { b.Seq, b.After = 8, 7 }, cause: "beacons come again", heard: true},
		{name: "another cluster beside", change: func(b *Beacon) { b.Cluster, b.Term = "d", 1 }},
		{name: "another cluster in its place", after: silence, change: func(b *Beacon) { b.Cluster, b.Term = "d", 1 }, replaced: true, heard: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPulse(nil)
			if d, replaced := p.hear(first, now); d.cause != "" || replaced {
				t.Fatalf("the first beacon: %+v, %v", d, replaced)
			}
			p.silent = c.silent
			b := first
			c.change(&b)
			at := now.Add(max(c.after, time.Millisecond))
			d, replaced := p.hear(b, at)
			if d.cause != c.cause || replaced != c.replaced {
				t.Errorf("doubt %q, replaced %v; want %q, %v", d.cause, replaced, c.cause, c.replaced)
			}
			if heard := p.heard.Equal(at); heard != c.heard {
				t.Errorf("it is a sign of life: %v; want %v", heard, c.heard)
			}
		})
	}
}

// TestResetsThatABeaconHasOvertaken: they come on a subscription of their own, so the beacon
// that counts them may be first. They are told once; and one that is new, where others were
// lost, with the next beacon.
func TestResetsThatABeaconHasOvertaken(t *testing.T) {
	w := heldWatch(t, 100)
	w.o.Raw = true
	p := w.client.pulse
	w.client.watches[w] = struct{}{}
	subjects := w.client.o.Subjects
	message := func(subject string, v any) *nats.Msg {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return &nats.Msg{Subject: subject, Data: data}
	}
	seq := uint64(0)
	beacon := func(resets uint64, last *Range) {
		seq++
		p.beacon(message(subjects.Beacon(), Beacon{Cluster: "c", Term: 1, Node: "n", Seq: seq, After: seq - 1, Resets: resets, Reset: last}))
	}
	reset := func(r Range) {
		p.reset(message(subjects.Reset(), Reset{Cluster: "c", Term: 1, Range: r}))
	}
	losses := func(want uint64, when string) {
		t.Helper()
		if w.stats.Losses != want {
			t.Errorf("%s: %d losses are told, want %d", when, w.stats.Losses, want)
		}
	}
	beacon(0, nil)
	ranges := []Range{{1, 5}, {11, 15}, {21, 25}}
	beacon(3, &ranges[2])
	losses(1, "a beacon that counts three resets")
	for _, r := range ranges {
		reset(r)
	}
	losses(1, "these, behind it")
	beacon(3, &ranges[2])
	losses(1, "a beacon that counts no more")
	reset(Range{31, 35})
	losses(2, "a new one")
	beacon(4, &Range{31, 35})
	losses(2, "the beacon that counts it")
	beacon(6, &Range{51, 55}) // of which none arrives
	losses(3, "a beacon that counts two more")
	reset(Range{61, 65})
	beacon(7, &Range{61, 65})
	losses(4, "a new one where others were lost, and the beacon that counts it")
	reset(Range{71, 75})
	beacon(8, &Range{71, 75})
	losses(5, "a new one behind it, and its beacon")
}

// TestReconnectBeforeThePulseRuns: a watch subscribes as soon as the pulse has begun, and its
// goroutine may come late. What was lost by a connection that was made anew meanwhile is told.
func TestReconnectBeforeThePulseRuns(t *testing.T) {
	ctx := testContext(t)
	broker, _ := startBroker(t)
	proxy := startProxy(t, broker.Addr().String())
	w := heldWatch(t, 100)
	w.o.Raw, w.sub = true, &nats.Subscription{}
	w.client.o.Conn = dial(t, proxy.url(), ClientConn()...)
	w.client.watches[w] = struct{}{}
	pulse := w.client.pulse
	if err := pulse.subscribe(); err != nil {
		t.Fatal(err)
	}
	proxy.cut()
	eventually(t, ctx, "the connection is made anew", func() bool { return w.client.o.Conn.Stats().Reconnects == 1 })
	running, cancel := context.WithCancel(ctx)
	pulse.cancel = cancel
	pulse.wg.Go(func() { pulse.run(running) })
	t.Cleanup(pulse.stop)
	eventually(t, ctx, "that is told", func() bool { return w.Stats().Losses == 1 })
	if u, ok, err := w.take(); !ok || u.Kind != Lost || u.Cause != "the connection was lost" {
		t.Errorf("the first update is %+v, %v", u, err)
	}
}
