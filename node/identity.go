package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/google/uuid"
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
