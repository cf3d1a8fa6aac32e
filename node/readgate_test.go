package node

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// TestReadGate: a proof of leadership counts for the readers that came before
// it began; those that come while it is under way share the next one, also if
// they are many; and its failure is theirs.
func TestReadGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begun, verdicts := make(chan struct{}), make(chan error)
		gate := newReadGate(func() error {
			begun <- struct{}{}
			return <-verdicts
		})
		var running sync.WaitGroup
		running.Go(func() { gate.run(ctx) })
		wait := func(n int) chan error {
			results := make(chan error, n)
			for range n {
				go func() { results <- gate.wait(ctx) }()
			}
			synctest.Wait()
			return results
		}

		first := wait(1)
		<-begun
		second := wait(1000)
		verdicts <- nil
		synctest.Wait()
		if len(first) != 1 || <-first != nil {
			t.Fatal("the reader that came before the proof was not let through")
		}
		if len(second) != 0 {
			t.Fatalf("%d readers were let through by a proof that began before they came", len(second))
		}
		<-begun
		failure := errors.New("another leads")
		verdicts <- failure
		synctest.Wait()
		if len(second) != 1000 {
			t.Fatalf("%d of 1000 readers share the second proof", len(second))
		}
		for range 1000 {
			if err := <-second; !errors.Is(err, failure) {
				t.Fatalf("a reader was told %v; the proof failed", err)
			}
		}

		// One that gives up does not take the others' proof with it.
		hasty, giveUp := context.WithCancel(ctx)
		gone := make(chan error, 1)
		go func() { gone <- gate.wait(hasty) }()
		<-begun
		last := wait(1)
		giveUp()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Fatalf("a reader that gave up was told %v", err)
		}
		verdicts <- nil
		<-begun
		verdicts <- nil
		if err := <-last; err != nil {
			t.Fatalf("the reader behind it was told %v", err)
		}

		cancel()
		running.Wait()
		if err := gate.wait(t.Context()); !errors.Is(err, ErrClosed) {
			t.Fatalf("a reader that came too late was told %v", err)
		}
	})
}

// TestGetAsksWhoLeads: a read of a node that cannot prove that it leads fails,
// over both ways in, instead of answering from what may be old.
func TestGetAsksWhoLeads(t *testing.T) {
	n := lead(t, single(t))
	put(t, n, "k", "v")
	n.reads.mu.Lock()
	n.reads.prove = func() error { return ErrNotLeader }
	n.reads.mu.Unlock()
	if e, err := n.Get(bounded(t), "k"); !errors.Is(err, ErrNotLeader) {
		t.Errorf("get: %q, %v; want ErrNotLeader", e.Value, err)
	}
	reply := request(t, connect(t, n.NATSURL()), "kv.get.k", nil)
	if code := reply.Header.Get("Nats-Service-Error-Code"); code != "503" {
		t.Errorf("request: code %q and %q; want 503", code, reply.Data)
	}
}
