package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fsm"
)

// identity says whose data directory this is. It never changes, but that the
// cluster is not known before its first leader has named it.
type identity struct {
	path string // of the file; empty in memory

	mu  sync.Mutex
	now identityRecord
}

// identityRecord is the content of the file: JSON.
type identityRecord struct {
	Node      string `json:"node"`
	Directory string `json:"directory"` // made with the directory
	Cluster   string `json:"cluster"`   // empty: not known yet
}

// openIdentity reads the record at path, or makes one. Of a node in memory path is
// empty.
func openIdentity(path, node string) (*identity, error) {
	i := &identity{path: path, now: identityRecord{Node: node, Directory: uuid.NewString()}}
	if path == "" {
		return i, nil
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := i.save(i.now); err != nil {
			return nil, fmt.Errorf("%w: %s cannot be written; %s: %w", ErrDataDir, path, remedy(err), err)
		}
		return i, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %s cannot be read; %s: %w", ErrDataDir, path, remedy(err), err)
	}
	var r identityRecord
	if err := json.Unmarshal(data, &r); err != nil || r.Node == "" || r.Directory == "" {
		return nil, fmt.Errorf("%w: %s does not say whose directory this is; restore it from a backup, or, if you know, delete it", ErrCorrupt, path)
	}
	if r.Node != node {
		return nil, fmt.Errorf("%w: %s says that this directory is of the node %q, not of %q; give it that ID, or give %q a directory of its own", ErrDataDir, path, r.Node, node, node)
	}
	i.now = r
	return i, nil
}

func (i *identity) get() identityRecord {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.now
}

// learn notes the cluster unless it is known. When it returns, the record is on the
// disk.
func (i *identity) learn(cluster string) error {
	now := i.get()
	if now.Cluster != "" {
		return nil
	}
	now.Cluster = cluster
	if i.path != "" {
		if err := i.save(now); err != nil {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.now = now
	return nil
}

func (i *identity) save(r identityRecord) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return replaceFile(i.path, data, true)
}

// learnCluster is called by Raft's apply goroutine, once.
func (n *Node) learnCluster(cluster string) {
	if err := n.identity.learn(cluster); err != nil {
		n.fail(storageError(n.dir, fmt.Errorf("store of which cluster this is: %w", err)))
		return
	}
	if layer := n.consensus.layer; layer != nil {
		n.consensus.acquainted.part(layer, cluster)
	}
}

// acquaint returns who decides with whom this node talks Raft.
func (n *Node) acquaint() *acquaintances {
	return newAcquaintances(n.identity, max(leastRecent, 3*n.config.ElectionTimeout), n.log, n.fail)
}

// leastRecent is for how long at least a process that was heard of keeps others from
// taking part under its id.
const leastRecent = 3 * time.Second

// voters returns how many the cluster has.
func (n *Node) voters() (voters int) {
	for _, s := range n.consensus.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	return voters
}

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
