package node

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// snapshots are Raft's on a disk that may be full: of one that could not be written
// nothing stays. Raft's own store leaves it there for good, and so the next one, which
// is tried after minutes, takes what was made free meanwhile.
type snapshots struct {
	*raft.FileSnapshotStore
	dir string
	mu  sync.Mutex // held while one is begun
}

const (
	unfinished = ".tmp"      // ends the name of a snapshot that is being written, which is Raft's
	stateFile  = "state.bin" // what it is written to, which is Raft's, too
)

// openSnapshots also removes what a crash left of one. How many there are is for [standing],
// because Raft's own store would remove one that was just received for being the oldest.
func openSnapshots(dir *dataDir, logger hclog.Logger) (*snapshots, error) {
	store, err := raft.NewFileSnapshotStoreWithLogger(dir.path, math.MaxInt, logger)
	if err != nil {
		return nil, err
	}
	left, err := named(dir.snapshots(), "", unfinished)
	return &snapshots{FileSnapshotStore: store, dir: dir.snapshots()}, errors.Join(err, removeAll(left))
}

// names returns those of the directories that are there.
func (s *snapshots) names() ([]string, error) {
	paths, err := named(s.dir, "", "")
	for i := range paths {
		paths[i] = filepath.Base(paths[i])
	}
	return paths, err
}

// Create implements [raft.SnapshotStore]. Raft's own makes a directory, and does not say
// which if it fails behind that. Raft may be at one snapshot of its own and at another one
// that it receives, so only what is new may be removed; and one is begun at a time.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, members raft.Configuration, membersIndex uint64, t raft.Transport) (raft.SnapshotSink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, err := named(s.dir, "", unfinished)
	if err != nil {
		return nil, err
	}
	sink, err := s.FileSnapshotStore.Create(version, index, term, members, membersIndex, t)
	if err != nil {
		now, more := named(s.dir, "", unfinished)
		left := slices.DeleteFunc(now, func(path string) bool { return slices.Contains(before, path) })
		return nil, errors.Join(err, more, removeAll(left))
	}
	return &snapshotSink{sink, filepath.Join(s.dir, sink.ID()+unfinished)}, nil
}

// remove removes a snapshot: after a crash all of it is there or none.
func (s *snapshots) remove(id string) error {
	path := filepath.Join(s.dir, id)
	if err := os.Rename(path, path+unfinished); err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	return os.RemoveAll(path + unfinished)
}

// syncDir has the names in a directory on the disk. Windows has no such thing.
func syncDir(path string) (err error) {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	return dir.Sync()
}

func removeAll(paths []string) (err error) {
	for _, path := range paths {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// snapshotSink takes one snapshot.
type snapshotSink struct {
	raft.SnapshotSink
	dir string // until it is complete
}

// Close implements [io.Closer]: the snapshot is complete, or an error says why not.
func (s *snapshotSink) Close() error {
	end, left := s.end(s.SnapshotSink.Close)
	return errors.Join(end, left)
}

// Cancel implements [raft.SnapshotSink].
func (s *snapshotSink) Cancel() error {
	_, left := s.end(s.SnapshotSink.Cancel)
	return left
}

// end also returns what kept it from removing the snapshot, where Raft's own end fails.
// That leaves the file open then, and an open file takes room although it has no name any
// more: it may have none as soon as Raft's returns, so it is opened before.
func (s *snapshotSink) end(raftsOwn func() error) (end, left error) {
	var state *os.File
	if runtime.GOOS != "windows" { // which does not rename the directory of an open file
		if f, err := os.OpenFile(filepath.Join(s.dir, stateFile), os.O_WRONLY, 0); err == nil {
			state = f
			defer f.Close()
		}
	}
	if end = raftsOwn(); end == nil {
		return nil, nil
	}
	if _, err := os.Stat(strings.TrimSuffix(s.dir, unfinished)); !errors.Is(err, fs.ErrNotExist) {
		return end, nil // it has its name, so it is whole, and what failed came behind that
	}
	if state != nil {
		left = state.Truncate(0)
	}
	return end, errors.Join(left, os.RemoveAll(s.dir))
}
