package node

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// TestCloseBesideStandingDisk: a leader closes though the only other node that lives stores
// nothing, because its disk stands still, and keeps it in office. The write is answered.
func TestCloseBesideStandingDisk(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	put(t, leader, "k", "v")
	stop(t, others[1])
	disk := &others[0].consensus.stable.(*storage).mu // which each write to it takes
	disk.Lock()
	moves := sync.OnceFunc(disk.Unlock)
	t.Cleanup(moves) // before the nodes are closed

	last := leader.consensus.raft.LastIndex()
	answer := make(chan error, 1)
	go func() {
		_, err := leader.Put(context.Background(), "k", []byte("w"))
		answer <- err
	}()
	eventually(t, "it is in the leader's log", func() bool { return leader.consensus.raft.LastIndex() > last })
	stop(t, leader)
	if err := within(t, "the write", func() error { return <-answer }); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("the write: %v; want %v", err, ErrUnknownOutcome)
	}
}
