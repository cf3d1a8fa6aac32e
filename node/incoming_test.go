package node

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"
)

// TestSnapshotHasRaftAlone: while Raft takes a snapshot nothing else comes to it, for what that
// leads to depends on what the log is then.
func TestSnapshotHasRaftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := make(chan raft.RPC)
		i := newIncoming(nil, &coveredLog{}, from)
		defer i.Close()
		answers := make(chan raft.RPCResponse, 1)
		from <- raft.RPC{Command: &raft.InstallSnapshotRequest{}, Reader: strings.NewReader(""), RespChan: answers}
		snapshot := <-i.rpcs
		next := raft.RPC{Command: &raft.AppendEntriesRequest{}}
		synctest.Wait()
		select {
		case from <- next:
			t.Error("another request is looked at meanwhile")
		default:
		}
		want := &raft.InstallSnapshotResponse{Success: true}
		snapshot.Respond(want, nil)
		if answer := <-answers; answer.Response != want {
			t.Errorf("the answer is %+v", answer)
		}
		from <- next
		if rpc := <-i.rpcs; rpc.Command != next.Command {
			t.Errorf("behind it came %+v", rpc)
		}
	})
}
