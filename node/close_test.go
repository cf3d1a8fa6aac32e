package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// TestCloseUnderWrites closes a node while many goroutines write: everyone gets
// an answer, also those who would wait for ever, Close returns, and what was
// acknowledged is there afterwards.
func TestCloseUnderWrites(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			testCloseUnderWrites(t)
		})
	}
}

func testCloseUnderWrites(t *testing.T) {
	const writers = 32
	config := single(t)
	n := lead(t, config)
	cancellable, cancel := context.WithCancel(context.Background())
	defer cancel()
	var (
		wg      sync.WaitGroup
		written [writers]atomic.Uint64
		busy    = make(chan struct{}, writers)
	)
	for i := range writers {
		ctx := context.Background()
		if i%2 == 0 {
			ctx = cancellable
		}
		wg.Go(func() {
			for {
				revision, err := n.Put(ctx, fmt.Sprintf("key.%d", i), []byte("x"))
				if err != nil {
					if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrNotLeader) {
						t.Errorf("put while the node closes: %v", err)
					}
					return
				}
				if written[i].Swap(revision) == 0 {
					busy <- struct{}{}
				}
			}
		})
	}
	for range writers {
		select {
		case <-busy:
		case <-bounded(t).Done():
			t.Fatal("nobody can write")
		}
	}
	stop(t, n)
	within(t, "a put under way when the node closed", func() struct{} { wg.Wait(); return struct{}{} })

	n = lead(t, config)
	for i := range writers {
		e, err := n.Get(bounded(t), fmt.Sprintf("key.%d", i))
		if err != nil || e.Revision < written[i].Load() {
			t.Errorf("key.%d is at revision %d, %v; %d was acknowledged", i, e.Revision, err, written[i].Load())
		}
	}
}

func TestCloseTwice(t *testing.T) {
	n := start(t, single(t))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { stop(t, n) })
	}
	wg.Wait()
	stop(t, n)
}

func TestAfterClose(t *testing.T) {
	n := lead(t, single(t))
	w := watch(t, n, ">")
	put(t, n, "k", "v")
	stop(t, n)
	ctx := bounded(t)
	if _, err := n.Put(ctx, "k", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("put: %v; want %v", err, ErrClosed)
	}
	if _, err := n.Put(context.Background(), "k", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("put without a deadline: %v; want %v", err, ErrClosed)
	}
	if _, err := n.Delete(ctx, "k"); !errors.Is(err, ErrClosed) {
		t.Errorf("delete: %v; want %v", err, ErrClosed)
	}
	if _, err := n.Get(ctx, "k"); !errors.Is(err, ErrClosed) {
		t.Errorf("get: %v; want %v", err, ErrClosed)
	}
	if err := n.WaitReady(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("wait: %v; want %v", err, ErrClosed)
	}
	if _, err := n.Watch(ctx, ">"); !errors.Is(err, fanout.ErrClosed) {
		t.Errorf("watch: %v; want %v", err, fanout.ErrClosed)
	}
	if _, err := n.WatchKey(ctx, "k"); !errors.Is(err, fanout.ErrClosed) {
		t.Errorf("watch a key: %v; want %v", err, fanout.ErrClosed)
	}
	// A watcher ends after what it holds.
	if e := next(t, w); e.Key != "k" {
		t.Errorf("the watcher received %+v", e)
	}
	if _, err := w.Next(ctx); !errors.Is(err, fanout.ErrClosed) {
		t.Errorf("the watcher ended with %v; want %v", err, fanout.ErrClosed)
	}
	if n.ID() == "" || n.NATSURL() == "" || n.Status().Revision == 0 {
		t.Errorf("a closed node does not know itself: %+v", n.Status())
	}
}

// TestCloseEarly closes a node that has hardly started.
func TestCloseEarly(t *testing.T) {
	config := single(t)
	for range 5 {
		stop(t, start(t, config))
	}
	n := lead(t, config)
	put(t, n, "k", "v")
}

// TestCloseHandsOver: a leader that closes has another node elected, instead of
// leaving the others to notice that it is gone.
func TestCloseHandsOver(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	handedOver := make(chan raft.Observation, 16)
	for _, n := range others {
		observer := raft.NewObserver(handedOver, false, func(o *raft.Observation) bool {
			vote, ok := o.Data.(raft.RequestVoteRequest)
			return ok && vote.LeadershipTransfer
		})
		n.consensus.raft.RegisterObserver(observer)
		t.Cleanup(func() { n.consensus.raft.DeregisterObserver(observer) })
	}
	stop(t, leader)
	select {
	case <-handedOver:
	case <-time.After(patience):
		t.Fatal("nobody asked for votes on behalf of the leader")
	}
	for _, n := range others {
		eventually(t, n.ID()+" knows another leader", func() bool {
			return n.Leader() != "" && n.Leader() != leader.ID()
		})
	}
}
