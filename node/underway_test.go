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
		if u.end(time.Second) {
			t.Error("it ends beside calls that are under way")
		}
		if _, ok := u.enter(); ok {
			t.Error("a call is let in at the end")
		}
		go func() {
			time.Sleep(time.Second / 2)
			for range freeWrites {
				u.leave()
			}
		}()
		if !u.end(time.Second) {
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
		n.consensus.logs.(*storage).write("append to the Raft log", func() error { return syscall.ENOSPC })
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

// TestPutAllocatesNoCommand: without options a command stays on the stack.
func TestPutAllocatesNoCommand(t *testing.T) {
	value := []byte("v")
	if n := testing.AllocsPerRun(100, func() { OpPut("k", value) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
