package node

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// snapshots are Raft's on a disk that may be full: of one that could not be written
// nothing stays. Raft's own store leaves it there for good, and so the next one, which
// is tried after minutes, takes what was made free meanwhile.
type snapshots struct {
	*raft.FileSnapshotStore
	dir string
}

const unfinished = ".tmp" // ends the name of a snapshot that is being written, which is Raft's

// openSnapshots also removes what a crash left of one.
func openSnapshots(dir *dataDir, logger hclog.Logger) (*snapshots, error) {
	store, err := raft.NewFileSnapshotStoreWithLogger(dir.path, snapshotsKept, logger)
	if err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(dir.snapshots(), "*"+unfinished))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return &snapshots{store, dir.snapshots()}, err
}

// Create implements [raft.SnapshotStore].
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, members raft.Configuration, membersIndex uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.FileSnapshotStore.Create(version, index, term, members, membersIndex, t)
	if err != nil {
		return nil, err
	}
	return &snapshotSink{sink, filepath.Join(s.dir, sink.ID()+unfinished)}, nil
}

// snapshotSink takes one snapshot.
type snapshotSink struct {
	raft.SnapshotSink
	dir string // until it is complete
}

// Close implements [io.Closer]: the snapshot is complete, or an error says why not.
func (s *snapshotSink) Close() error {
	err := s.SnapshotSink.Close()
	if err != nil {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// Cancel implements [raft.SnapshotSink]. Where Raft's own fails it leaves the file open,
// too, and an open file takes room although it has no name any more.
func (s *snapshotSink) Cancel() error {
	if s.SnapshotSink.Cancel() == nil {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(s.dir, "*"))
	for _, file := range files {
		err = errors.Join(err, os.Truncate(file, 0))
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}
