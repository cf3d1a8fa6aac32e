package nats

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// listener hears everything a publisher says, on one connection, in order. It
// holds the publisher to what must be true of any sequence, whatever the
// faults: seq grows, published never goes down, and whatever a beacon calls
// published has arrived, or was announced as lost, before it. Nothing gets lost on the
// way to it, so a node that heard the same would miss nothing either, whatever the
// publisher went through.
type listener struct {
	t        testing.TB
	conn     *nats.Conn
	subjects Subjects
	messages chan *nats.Msg

	events  []*fanout.Event
	resets  []Reset
	beacons []Beacon

	hearing   *Hearing
	overtaken bool // beacons may come out of turn, because connections are cut

	covered map[uint64]bool // received or announced as lost, above through
	through uint64          // all up to it is
}

// listen subscribes; revisions up to after count as received.
func listen(t testing.TB, ctx context.Context, conn *nats.Conn, s Subjects, after uint64) *listener {
	t.Helper()
	l := &listener{t: t, conn: conn, subjects: s, messages: make(chan *nats.Msg, 1<<18), hearing: NewHearing("listener", false), covered: make(map[uint64]bool), through: after}
	for _, subject := range s.PublishedByNodes() {
		sub, err := conn.ChanSubscribe(subject, l.messages)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if n, err := sub.Dropped(); err == nil && n > 0 {
				t.Errorf("the listener itself dropped %d messages", n)
			}
		})
	}
	flush(t, ctx, conn)
	return l
}

// until takes messages until what is asked for holds.
func (l *listener) until(ctx context.Context, what string, holds func() bool) {
	l.t.Helper()
	for !holds() {
		select {
		case m := <-l.messages:
			l.take(m)
		case <-ctx.Done():
			l.t.Fatalf("%s: %v; %d events, %d resets, %d beacons came, nothing is missing up to revision %d",
				what, context.Cause(ctx), len(l.events), len(l.resets), len(l.beacons), l.through)
		}
	}
}

// untilCovered takes messages until all up to revision is there.
func (l *listener) untilCovered(ctx context.Context, revision uint64) {
	l.t.Helper()
	l.until(ctx, "every revision is received or announced as lost", func() bool { return l.through >= revision })
}

// settle takes what is under way: it sends a message of its own through the
// broker and takes all until that is back.
func (l *listener) settle(ctx context.Context) {
	l.t.Helper()
	mark := "_" + l.subjects.Watch + ".mark"
	if err := l.conn.Publish(mark, nil); err != nil {
		l.t.Fatal(err)
	}
	for {
		m := receive(l.t, ctx, "the listener's own message is back", l.messages)
		if m.Subject == mark {
			return
		}
		l.take(m)
	}
}

func (l *listener) take(m *nats.Msg) {
	l.t.Helper()
	switch m.Subject {
	case l.subjects.Beacon():
		b, err := DecodeBeacon(m)
		if err != nil {
			l.t.Fatal(err)
		}
		if n := len(l.beacons); n > 0 && !l.overtaken && (b.Seq <= l.beacons[n-1].Seq || b.Published < l.beacons[n-1].Published) {
			l.t.Errorf("beacon %+v follows %+v", b, l.beacons[n-1])
		}
		if b.Published > l.through {
			l.t.Errorf("beacon %+v came when only the changes up to %d were here", b, l.through)
		}
		if k, ok := l.hearing.Beacon(b, nil); !ok || k.Lost != nil || k.Received < b.Published || k.Received > max(l.through, b.Sent) {
			l.t.Errorf("beacon %+v is answered by %+v when the changes up to %d were here", b, k, l.through)
		}
		l.beacons = append(l.beacons, b)
	case l.subjects.Reset():
		r, err := DecodeReset(m)
		if err != nil {
			l.t.Fatal(err)
		}
		l.resets = append(l.resets, r)
		for revision := r.From; revision <= r.To; revision++ {
			l.cover(revision)
		}
	default:
		e, err := l.subjects.DecodeEvent(m)
		if err != nil {
			l.t.Fatal(err)
		}
		l.events = append(l.events, e)
		l.cover(e.Revision)
	}
}

func (l *listener) cover(revision uint64) {
	if revision <= l.through {
		return
	}
	l.covered[revision] = true
	for l.covered[l.through+1] {
		l.through++
		delete(l.covered, l.through)
	}
}

// revisions returns those of the events received so far.
func (l *listener) revisions() []uint64 {
	list := make([]uint64, len(l.events))
	for i, e := range l.events {
		list[i] = e.Revision
	}
	return list
}
