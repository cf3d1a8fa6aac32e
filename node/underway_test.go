package node

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestUnderWay: as many calls as surely find room in Raft's queue need no timeout; more do
// until some have been answered. When Raft ends none is let in, and those under way are
// waited for.
func TestUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u underWay
		enter := func(want time.Duration, when string) {
			t.Helper()
			if timeout, ok := u.enter(); !ok || timeout != want {
				t.Fatalf("%s: %v, %v", when, timeout, ok)
			}
		}
		for range freeWrites {
			enter(0, "while there are few")
		}
		enter(enqueueTimeout, "one more")
		u.leave()
		u.leave()
		enter(0, "when two were answered")
		var ended atomic.Bool
		go func() {
			u.end()
			ended.Store(true)
		}()
		synctest.Wait()
		if _, ok := u.enter(); ok {
			t.Error("a call is let in at the end")
		}
		for range freeWrites - 1 {
			u.leave()
		}
		time.Sleep(time.Minute) // looks every millisecond
		if ended.Load() {
			t.Error("it ends beside a call that is under way")
		}
		u.leave()
		time.Sleep(time.Second)
		if !ended.Load() {
			t.Error("it does not end though all are answered")
		}
	})
}

// TestWritesLeave: what was answered, whatever the answer, is not under way any more.
func TestWritesLeave(t *testing.T) {
	n := lead(t, single(t))
	for i := range 2 * freeWrites {
		if _, err := n.CompareAndSet(t.Context(), "k", uint64(i%2*1_000_000), []byte("v")); i > 0 && err == nil {
			t.Fatal("a condition that does not hold was met")
		}
	}
	eventually(t, "nothing is under way", func() bool { return n.consensus.calls.calls.Load() == 0 })
}

// TestFailsUnderLoad: a node whose disk fails under many writes answers each of them, and
// closes. Raft answers nothing that is in its queues when it ends.
func TestFailsUnderLoad(t *testing.T) {
	t.Parallel()
	for _, writers := range []int{8, 64, 300} {
		n := lead(t, single(t))
		var wg sync.WaitGroup
		var puts atomic.Int64
		for range writers {
			wg.Go(func() {
				for {
					if _, err := n.Put(context.Background(), "k", make([]byte, 100)); err != nil {
						return
					}
					puts.Add(1)
				}
			})
		}
		eventually(t, "they write", func() bool { return puts.Load() > int64(10*writers) })
		n.consensus.stable.(*storage).write("append to the Raft log", func() error { return syscall.ENOSPC })
		within(t, "every write is answered", func() struct{} {
			wg.Wait()
			return struct{}{}
		})
		if _, err := n.Put(bounded(t), "k", nil); !errors.Is(err, ErrStorage) {
			t.Errorf("the next write: %v", err)
		}
		within(t, "the node closes", n.Close)
	}
}

// TestFailsWhileApplying: a node whose disk fails while its state machine is behind answers
// what that has still to apply, however long it takes.
func TestFailsWhileApplying(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	r := n.consensus.raft
	n.compaction.mu.Lock() // which holds up whoever applies
	held := sync.OnceFunc(n.compaction.mu.Unlock)
	defer held()
	answers := make(chan error)
	const writes = 10
	for range writes { // each in a batch of its own, the first of which is being applied
		last := r.LastIndex()
		go func() {
			_, err := n.Put(context.Background(), "k", nil)
			answers <- err
		}()
		eventually(t, "it is to be applied", func() bool { return r.AppliedIndex() > last })
	}
	n.consensus.stable.(*storage).write("append to the Raft log", func() error { return syscall.ENOSPC })
	<-n.Failed()
	last := r.LastIndex()
	future := r.Apply(nil, 0) // finds that the log cannot be written
	if err := future.Error(); err == nil || r.LastIndex() != last {
		t.Fatalf("%v, at %d after %d", err, r.LastIndex(), last)
	}
	eventually(t, "an election timeout passes", func() bool { return r.State() == raft.Candidate || r.State() == raft.Shutdown })
	held()
	within(t, "every write is answered", func() struct{} {
		for range writes {
			if err := <-answers; err != nil {
				t.Errorf("a write that a majority had: %v", err)
			}
		}
		return struct{}{}
	})
	within(t, "the node closes", n.Close)
}

// TestPutAllocatesNoCommand: without options a command stays on the stack.
func TestPutAllocatesNoCommand(t *testing.T) {
	value := []byte("v")
	if n := testing.AllocsPerRun(100, func() { OpPut("k", value) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
