package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// session is what its goroutines share.
type session struct {
	p          *Publisher
	connection uint64        // count of reconnects: tells one connection from another
	begun      chan struct{} // closed when the first beacon is on its way
	dirty      chan struct{} // something was published since the last ping
	beacons    chan struct{} // many events were published since the last beacon
}

// alive reports whether the connection is the one on which the session began.
func (s *session) alive() bool {
	conn := s.p.o.Conn
	return conn.IsConnected() && conn.Stats().Reconnects == s.connection
}

// stream publishes events as they come, behind a first beacon: whoever has that knows
// where they begin.
func (s *session) stream(ctx context.Context) error {
	p := s.p
	if err := p.publishBeacon(true); err != nil {
		return err
	}
	close(s.begun)
	poke(s.dirty)
	if err := s.meet(ctx); err != nil {
		return err
	}
	after := p.confirmed.Load()
	if p.lost != nil {
		s.hand(p.o.After)
		if err := s.reset(*p.lost); err != nil {
			return err
		}
		after = p.o.After
		p.published.Store(after)
		poke(s.dirty)
	}
	cursor := p.o.Ring.Cursor(after)
	defer cursor.Close()
	buf := make([]*fanout.Event, 0, publishBatch)
	since := 0
	for {
		events, err := cursor.Next(ctx, buf[:0])
		if err != nil {
			return err
		}
		s.hand(events[len(events)-1].Revision)
		for _, e := range events {
			if err := s.publish(e); err != nil {
				return err
			}
		}
		p.published.Store(cursor.Last())
		clear(events)
		poke(s.dirty)
		if since += len(events); since >= BeaconEvents {
			since = 0
			poke(s.beacons)
		}
	}
}

// meet waits, before the first event of the term, for those who live. With the leader may
// have gone the only route over which one of them had the last events, and what is
// published before there is another one would have to be announced as lost.
func (s *session) meet(ctx context.Context) error {
	p := s.p
	if p.met {
		return nil
	}
	if p.meetBegan.IsZero() {
		p.meetBegan = time.Now()
	}
	for {
		attempt, cancel := context.WithTimeoutCause(ctx, retryPause, errUnmet)
		err := p.wait(attempt, func() bool { return len(p.o.Audience.unmet(p.o.Lives)) == 0 })
		cancel()
		if err == errUnmet && time.Since(p.meetBegan) > p.meeting {
			p.o.Logger.Warn("publishing begins though nodes that live do not hear it", "nodes", p.o.Audience.unmet(p.o.Lives), "waited", p.meeting)
			err = nil
		}
		if err != errUnmet {
			p.met = err == nil
			return err
		}
		if err := p.publishBeacon(false); err != nil { // there may be a route by now
			return err
		}
		poke(s.dirty)
	}
}

// errUnmet ends an attempt to meet those who live.
var errUnmet = errors.New("nats: a node that lives does not answer")

// hand notes that everything up to revision may go to the connection from now on.
func (s *session) hand(revision uint64) {
	if revision > s.p.handed.Load() { // in an earlier session it may have been further
		s.p.handed.Store(revision)
	}
}

func (s *session) publish(e *fanout.Event) error {
	p := s.p
	switch e.Op {
	case fanout.Lagged:
		return s.reset(Range{From: e.PrevRevision, To: e.Revision})
	case fanout.Reset:
		return s.reset(Range{From: min(p.published.Load()+1, e.Revision), To: e.Revision})
	}
	subject := p.o.Subjects.Event(e.Key)
	if p.o.Interest != nil && !p.o.Interest(subject) {
		p.skipped.Add(1)
		return nil
	}
	err := p.o.Conn.PublishMsg(encodeEvent(subject, e))
	if errors.Is(err, nats.ErrMaxPayload) {
		// The broker takes less than the cluster was set up for. The change is
		// committed all the same, so say that it was not published.
		p.o.Logger.Warn("event is too large for the broker", "key", e.Key, "bytes", len(e.Value), "revision", e.Revision)
		return s.reset(Range{From: e.Revision, To: e.Revision})
	}
	if err == nil {
		p.events.Add(1)
	}
	return err
}

func (s *session) reset(lost Range) error {
	p := s.p
	if err := p.publishJSON(p.o.Subjects.Reset(), Reset{Cluster: p.o.Cluster, Term: p.o.Term, Range: lost}); err != nil {
		return err
	}
	for said := false; !said; { // a node may ask for another one meanwhile
		before := p.resets.Load()
		said = p.resets.CompareAndSwap(before, &resets{count: before.count + 1, last: &lost})
	}
	p.o.Logger.Warn("events may not have been published", "from", lost.From, "to", lost.To)
	return nil
}

// confirm pings behind what was published, not more often than provePace says, and
// records what the pong proves. A connection on which that fails is given up, with all
// that is still on its way: behind it, a next session might wait for its own answers
// for ever.
func (s *session) confirm(ctx context.Context) error {
	p := s.p
	pace := time.NewTicker(provePace)
	defer pace.Stop()
	for {
		select {
		case <-s.dirty:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		revision, seq := p.published.Load(), p.seq.Load()
		if err := s.prove(ctx); err != nil {
			if ctx.Err() == nil && s.alive() {
				p.o.Conn.ForceReconnect() // its only error is that the connection is closed
			}
			return err
		}
		p.confirm(revision, seq)
		pace.Reset(provePace)
		select {
		case <-pace.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// prove returns nil if the broker has processed what was handed to the
// connection before.
func (s *session) prove(ctx context.Context) error {
	conn := s.p.o.Conn
	flush, cancel := context.WithTimeout(ctx, s.p.patience)
	defer cancel()
	if err := conn.FlushWithContext(flush); err != nil {
		return fmt.Errorf("nats: the broker does not answer: %w", err)
	}
	if !s.alive() {
		return errDisconnected
	}
	// A broker that refuses a message, for want of permission say, answers
	// pings all the same, but it complains first.
	if err := conn.LastError(); err != nil {
		return fmt.Errorf("nats: the broker refuses what is published: %w", err)
	}
	return nil
}

// beacon publishes beacons, and the resets that nodes ask for. Beacons speak of what is
// confirmed: what was merely handed to the connection may be lost with it, while the
// beacon already goes out on the next one. Each asks for an answer, so that a broker
// that is gone is noticed while nothing happens.
func (s *session) beacon(ctx context.Context) error {
	p := s.p
	tick := time.NewTicker(BeaconPeriod)
	defer tick.Stop()
	select {
	case <-s.begun:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		select {
		case <-tick.C:
		case <-s.beacons:
		case <-p.hurry:
		case lost := <-p.owed:
			if err := s.reset(lost); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := p.publishBeacon(false); err != nil {
			return err
		}
		poke(s.dirty)
	}
}
