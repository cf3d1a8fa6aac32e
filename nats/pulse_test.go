package nats

import (
	"testing"
	"time"
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
