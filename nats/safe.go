package nats

import (
	"context"
	"fmt"
	"time"
)

// Safe returns the revision up to which every event has reached the brokers of all
// nodes that live and were heard within [AckPatience]. It never goes down.
func (p *Publisher) Safe() uint64 { return p.safe.Load() }

// Acknowledge takes a node's acknowledgement of the cluster, its own ones included. Any
// goroutine may call it, whether or not Run runs. It does not wait for the broker.
func (p *Publisher) Acknowledge(k Ack) {
	lost, news := p.o.Audience.ack(k, p.confirmed.Load(), time.Now())
	p.tell()
	if news {
		poke(p.hurry)
	}
	if lost != nil {
		select {
		case p.owed <- *lost:
		default: // it asks again
		}
	}
	p.settle()
}

// settle finds what is safe by now, and tells.
func (p *Publisher) settle() {
	p.safeMu.Lock()
	defer p.safeMu.Unlock()
	safe := p.o.Audience.safeAt(p.confirmed.Load(), time.Now())
	if safe <= p.safe.Load() {
		return
	}
	p.safe.Store(safe)
	p.tell()
	if p.o.Safe != nil {
		p.o.Safe(safe)
	}
}

// publishBeacon makes and publishes a beacon. The first one of a session comes before
// the session's events; its owner waits for it before it publishes any.
func (p *Publisher) publishBeacon(first bool) error {
	p.beaconMu.Lock()
	defer p.beaconMu.Unlock()
	p.settle() // a node may be silent for too long by now
	p.made++   // a number is not used again if this fails: nobody knows what went out
	b := Beacon{Cluster: p.o.Cluster, Term: p.o.Term, Node: p.o.Node, Age: uint64(time.Since(p.began).Milliseconds()), Seq: p.made, After: p.seq.Load()}
	b.Routes = p.o.Audience.routes() // before the next line: see Beacon.Sent
	b.Sent = p.handed.Load()
	b.Published, b.Safe = p.confirmed.Load(), p.safe.Load()
	if first {
		b.After, b.Sent = p.heard.Load(), b.Published // everything above goes out again behind it
	}
	resets := p.resets.Load() // after what they may be the excuse for
	b.Resets, b.Reset = resets.count, resets.last
	if err := p.publishJSON(p.o.Subjects.Beacon(), b); err != nil {
		return err
	}
	p.seq.Store(b.Seq)
	return nil
}

// Drain waits until everything up to revision is safe and says so in a last beacon, so
// that the next leader need not publish it again, until the others have that. A node
// that does not answer holds it up for [AckPatience] at most. Call it while Run still
// runs, with a deadline. The error is that of ctx, or the connection's.
func (p *Publisher) Drain(ctx context.Context, revision uint64) error {
	if err := p.WaitConfirmed(ctx, revision); err != nil {
		return err
	}
	if p.Safe() < revision { // the others have not been told yet how far it got
		if err := p.publishBeacon(false); err != nil {
			return fmt.Errorf("nats: last beacon but one: %w", err)
		}
		if err := p.wait(ctx, func() bool { p.settle(); return p.Safe() >= revision }); err != nil {
			return err
		}
	}
	if err := p.publishBeacon(false); err != nil {
		return fmt.Errorf("nats: last beacon: %w", err)
	}
	if err := p.o.Conn.FlushWithContext(ctx); err != nil {
		return err
	}
	last := p.seq.Load()
	return p.wait(ctx, func() bool { return p.o.Audience.told(last, time.Now()) })
}
