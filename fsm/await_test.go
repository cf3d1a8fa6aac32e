package fsm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// TestAwait: whoever waits for a revision goes on with the batch that reaches it,
// and no earlier; also by a restored snapshot.
func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 8)
		m.init() // 1
		await := func(ctx context.Context, revision uint64) chan error {
			done := make(chan error, 1)
			go func() { done <- m.Await(ctx, revision) }()
			return done
		}
		if err := m.Await(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		at2, at4, also4 := await(t.Context(), 2), await(t.Context(), 4), await(t.Context(), 4)
		m.do(put("a", "")) // 2
		synctest.Wait()
		if len(at2) != 1 || len(at4) != 0 {
			t.Fatal("revision 2 lets through those who wait for it, and nobody else")
		}
		m.do(del("missing")) // 3
		synctest.Wait()
		if len(at4) != 0 {
			t.Fatal("revision 3 lets those through who wait for 4")
		}
		m.do(del("missing")) // 4: a command that failed counts
		if err := errors.Join(<-at2, <-at4, <-also4); err != nil {
			t.Fatal(err)
		}

		ctx, cancel := context.WithCancelCause(t.Context())
		hasty, patient := await(ctx, 6), await(t.Context(), 6)
		synctest.Wait()
		gone := errors.New("gone")
		cancel(gone)
		if err := <-hasty; !errors.Is(err, gone) {
			t.Fatalf("who gave up was told %v", err)
		}
		other := newMachine(t, 8)
		other.init()
		for range 5 {
			other.do(put("b", "")) // up to 6
		}
		if err := m.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, other.FSM)))); err != nil {
			t.Fatal(err)
		}
		if err := <-patient; err != nil {
			t.Fatal(err)
		}
	})
}

// TestAwaitHammer: nobody sleeps through the batch that he waits for, even if no
// other follows that would wake him.
func TestAwaitHammer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m := newMachine(t, 8)
	m.init()
	const rounds = 50_000
	through := make(chan error)
	go func() {
		for revision := uint64(2); revision <= rounds; revision++ {
			through <- m.Await(ctx, revision)
		}
	}()
	for m.last < rounds {
		for range m.last % 64 { // meets the other at a different step each time
			m.Revision()
		}
		m.do(put("a", ""))
		if err := <-through; err != nil {
			t.Fatalf("revision %d was slept through: %v", m.last, err)
		}
	}
}
