package node

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fsm"
)

// learning is the state machine as Raft sees it. It hears the name of the cluster
// when the state machine does: before a write can be acknowledged.
type learning struct {
	*fsm.FSM
	known bool
	learn func(cluster string)
}

var _ raft.BatchingFSM = (*learning)(nil)

// ApplyBatch implements [raft.BatchingFSM].
func (l *learning) ApplyBatch(logs []*raft.Log) []any {
	results := l.FSM.ApplyBatch(logs)
	l.look()
	return results
}

// Restore implements [raft.FSM].
func (l *learning) Restore(snapshot io.ReadCloser) error {
	err := l.FSM.Restore(snapshot)
	l.look()
	return err
}

func (l *learning) look() {
	if l.known {
		return
	}
	if cluster, ok := l.FSM.Cluster(); ok {
		l.known = true
		l.learn(cluster.ID)
	}
}

// learnCluster is called by Raft's apply goroutine, once. If it fails the node has failed when
// it returns, which is before this node serves as a leader: it proposes no write then.
func (n *Node) learnCluster(cluster string) {
	if err := n.identity.learn(cluster); err != nil {
		n.fail(storageError(n.dir, fmt.Errorf("store of which cluster this is: %w", err)))
		return
	}
	if layer := n.consensus.layer; layer != nil {
		n.consensus.acquainted.part(layer, cluster)
	}
}
