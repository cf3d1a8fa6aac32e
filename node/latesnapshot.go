package node

import (
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// lateSnapshots stands between the transport and Raft, and keeps from Raft a snapshot of which
// this node has everything: one that lay in the network until the leader had sent it again, by
// another connection, and the node had gone on. Raft would go back to it and drop its log, and
// with that entries that it has acknowledged.
//
// What is committed is the same everywhere, so that the snapshot ends at or below it is enough;
// or that it is the one which the node installed last, behind which Raft does not know yet how
// much is committed.
type lateSnapshots struct {
	layer *streamLayer
	logs  *coveredLog
	raft  atomic.Pointer[raft.Raft] // nil while it starts
	rpcs  chan raft.RPC             // for Raft
	done  chan struct{}
	wg    sync.WaitGroup
}

func newLateSnapshots(layer *streamLayer, logs *coveredLog, from <-chan raft.RPC) *lateSnapshots {
	l := &lateSnapshots{layer: layer, logs: logs, rpcs: make(chan raft.RPC), done: make(chan struct{})}
	l.wg.Go(func() { l.pass(from) })
	return l
}

// Close implements [io.Closer].
func (l *lateSnapshots) Close() error {
	close(l.done)
	l.wg.Wait()
	return nil
}

func (l *lateSnapshots) pass(from <-chan raft.RPC) {
	for {
		select {
		case rpc := <-from:
			pass := l.hand
			switch request := rpc.Command.(type) {
			case *raft.AppendEntriesRequest:
				boundCommit(request)
				l.logs.bringToEnd(request)
			case *raft.InstallSnapshotRequest:
				if l.has(request) {
					go l.answer(rpc, request) // which ends with its connection
					continue
				}
				leader := string(request.ID)
				rpc.Reader = newStallingReader(rpc.Reader, func() {
					l.layer.closeWhere(func(c *streamConn) bool { return c.peer.Node == leader })
				})
				pass = l.handWhole
			}
			if !pass(rpc) {
				return
			}
		case <-l.done:
			return
		}
	}
}

// hand gives Raft a request; false when all ends.
func (l *lateSnapshots) hand(rpc raft.RPC) bool {
	select {
	case l.rpcs <- rpc:
		return true
	case <-l.done:
		return false
	}
}

// handWhole returns when Raft has answered, too. It does nothing else meanwhile, and what comes
// next is looked at with the log that it has then.
func (l *lateSnapshots) handWhole(rpc raft.RPC) bool {
	to, answer := rpc.RespChan, make(chan raft.RPCResponse, 1)
	rpc.RespChan = answer
	if !l.hand(rpc) {
		return false
	}
	select {
	case a := <-answer:
		to <- a // which has room for it
		return true
	case <-l.done:
		return false
	}
}

// has reports whether the node has what a snapshot from its leader holds. Of another term Raft
// has more to see to. What is committed is not all here where the node has installed more than
// that: a backup that it restored alone has taken the place of it. Nor is it where a snapshot has
// set it back, behind which it has not applied as much again.
func (l *lateSnapshots) has(request *raft.InstallSnapshotRequest) bool {
	r := l.raft.Load()
	if r == nil || request.Term != r.CurrentTerm() {
		return false
	}
	index, term := installed(r)
	same := index == request.LastLogIndex && term == request.LastLogTerm
	return same || max(index, request.LastLogIndex) <= min(r.CommitIndex(), r.AppliedIndex())
}

// installed returns where the state stands that Raft has received, restored or saved last.
func installed(r *raft.Raft) (index, term uint64) {
	stats := r.Stats()
	for key, value := range map[string]*uint64{"last_snapshot_index": &index, "last_snapshot_term": &term} {
		*value, _ = strconv.ParseUint(stats[key], 10, 64) // Raft writes it so
	}
	return index, term
}

// answer takes what is sent, which the next call on the connection stands behind.
func (l *lateSnapshots) answer(rpc raft.RPC, request *raft.InstallSnapshotRequest) {
	_, err := io.Copy(io.Discard, rpc.Reader)
	rpc.Respond(&raft.InstallSnapshotResponse{RPCHeader: request.RPCHeader, Term: request.Term, Success: err == nil}, err)
}
