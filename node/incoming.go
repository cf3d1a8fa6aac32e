package node

import (
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fsm"
)

// incoming stands between the transport and Raft. What other nodes ask it passes on in order,
// and mends what Raft takes from them too trustfully: how much is committed (see
// [boundCommit]), what entries follow on (see [coveredLog.bringToEnd]), a snapshot that comes
// late (see [incoming.has]), a snapshot that does not come to its end (see [stallingReader]), and
// one that is damaged: Raft would store it before it looks, and begin with it at the next start.
// Heartbeats pass it by, which ask for none of that.
type incoming struct {
	layer *streamLayer
	logs  *coveredLog
	raft  atomic.Pointer[raft.Raft] // nil while it starts
	rpcs  chan raft.RPC             // for Raft
	done  chan struct{}
	wg    sync.WaitGroup
}

func newIncoming(layer *streamLayer, logs *coveredLog, from <-chan raft.RPC) *incoming {
	i := &incoming{layer: layer, logs: logs, rpcs: make(chan raft.RPC), done: make(chan struct{})}
	i.wg.Go(func() { i.run(from) })
	return i
}

// Close implements [io.Closer]. The transport is closed before.
func (i *incoming) Close() error {
	close(i.done)
	i.wg.Wait()
	return nil
}

func (i *incoming) run(from <-chan raft.RPC) {
	for {
		select {
		case rpc := <-from:
			if !i.pass(rpc) {
				return
			}
		case <-i.done:
			return
		}
	}
}

// pass hands a request to Raft, or answers it; false when all ends.
func (i *incoming) pass(rpc raft.RPC) bool {
	switch request := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		boundCommit(request)
		i.logs.bringToEnd(request)
	case *raft.InstallSnapshotRequest:
		if i.has(request) {
			i.wg.Go(func() { i.answer(rpc, request) }) // ends with its connection
			return true
		}
		leader := string(request.ID)
		rpc.Reader = fsm.Checked(newStallingReader(rpc.Reader, func() {
			i.layer.closeWhere(func(c *streamConn) bool { return c.peer.Node == leader })
		}))
		return i.handWhole(rpc)
	}
	return i.hand(rpc)
}

func (i *incoming) hand(rpc raft.RPC) bool {
	select {
	case i.rpcs <- rpc:
		return true
	case <-i.done:
		return false
	}
}

// handWhole returns when Raft has answered, too. What comes next is looked at with the log
// that it has then.
func (i *incoming) handWhole(rpc raft.RPC) bool {
	to, answer := rpc.RespChan, make(chan raft.RPCResponse, 1)
	rpc.RespChan = answer
	if !i.hand(rpc) {
		return false
	}
	select {
	case a := <-answer:
		to <- a // which has room for it
		return true
	case <-i.done:
		return false
	}
}
