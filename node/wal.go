package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	wal "github.com/hashicorp/raft-wal"
	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// openLog opens the Raft log in dir, and the store of its metadata, which the
// log does not close: one that is left open stays locked, and the next start on
// this directory would wait for ever. The log makes its next segment between writes;
// noSegment is told why it could not, by a goroutine of the log's.
func openLog(dir string, logger hclog.Logger, noSegment func(error)) (*wal.WAL, *metadb.BoltMetaDB, error) {
	if err := checkLog(dir); err != nil {
		return nil, nil, err
	}
	meta := &metadb.BoltMetaDB{}
	log, err := wal.Open(dir, wal.WithMetaStore(&metadata{meta, noSegment}), wal.WithLogger(logger),
		wal.WithSegmentFiler(segment.NewFiler(dir, &segmentFiles{walfs.New(), logger, noSegment})))
	if err != nil {
		return nil, nil, errors.Join(err, meta.Close())
	}
	return log, meta, nil
}

// metadata tells of the segments that it could not note, which the log only logs.
type metadata struct {
	*metadb.BoltMetaDB
	failed func(error)
}

// CommitState implements [types.MetaStore].
func (m *metadata) CommitState(s types.PersistentState) error {
	err := m.BoltMetaDB.CommitState(s)
	if err != nil {
		m.failed(fmt.Errorf("note its segments: %w", err))
	}
	return err
}

// segmentFiles tells of the segments that it could not make, which the log only logs.
type segmentFiles struct {
	*walfs.FS
	logger hclog.Logger
	failed func(error)
}

// Where clients have all files for a moment, the next segment waits for one. Who accepts
// connections waits for longer between two tries, and so does not come first for ever.
const (
	filePatience = 10 * time.Second
	filePause    = 5 * time.Millisecond
)

// Create implements [types.VFS].
func (f *segmentFiles) Create(dir, name string, size uint64) (types.WritableFile, error) {
	file, err := f.FS.Create(dir, name, size)
	for end := time.Now().Add(filePatience); noFileLeft(err) && time.Now().Before(end); file, err = f.FS.Create(dir, name, size) {
		f.logger.Error("no file is left for the next segment of the log, which waits for one; "+remedy(err), "error", err)
		time.Sleep(filePause)
	}
	if err != nil {
		f.failed(fmt.Errorf("make its next segment, %s of %d bytes: %w", name, size, err))
	}
	return file, err
}

// checkLog looks whether metadata and segments belong together, before the log
// is opened: that makes a segment that is missing, and deletes one that is not
// in the metadata.
//
// It reads the metadata from a copy, and writes to it, too: the database maps
// its file into memory and panics or faults on one that is damaged, at the
// first write at the latest, which otherwise is made by a goroutine of Raft's.
func checkLog(dir string) (err error) {
	segments, err := segment.NewFiler(dir, walfs.New()).List()
	if err != nil {
		return fmt.Errorf("%w: the name of a segment", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, metadb.FileName))
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(segments) == 0:
		return nil // a new log
	case err != nil:
		return err
	case len(data) == 0:
		return fmt.Errorf("%s is empty", metadb.FileName)
	}
	tmp := filepath.Join(dir, "check")
	if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o750)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := os.WriteFile(filepath.Join(tmp, metadb.FileName), data, 0o640); err != nil {
		return err
	}
	return guard(metadb.FileName, func() error {
		meta := &metadb.BoltMetaDB{}
		state, err := meta.Load(tmp)
		if err != nil {
			return err
		}
		used, err := meta.GetStable([]byte(currentTerm))
		if err != nil {
			return err
		}
		if err := checkSegments(state, segments, used != nil); err != nil {
			return err
		}
		for range 4 { // until pages that were freed first are taken again
			if err := meta.SetStable([]byte("check"), nil); err != nil {
				return err
			}
		}
		return meta.Close()
	})
}

// checkSegments compares the segments that are there, by id, with those of the
// metadata. After a crash there may be older ones, which were to be deleted, and
// the newest one may not have been made yet, unless it is the only one of a log
// that is in use.
func checkSegments(state types.PersistentState, have map[uint64]uint64, used bool) error {
	for i, s := range state.Segments {
		newest := i == len(state.Segments)-1
		only := newest && i == 0
		if _, ok := have[s.ID]; !ok && (!newest || only && used) {
			return fmt.Errorf("segment %s is missing", segment.FileName(s))
		}
	}
	for id := range have {
		if id >= state.NextSegmentID {
			return fmt.Errorf("segment %d is newer than %s", id, metadb.FileName)
		}
	}
	return nil
}

// guard turns a panic of f, or its access to memory that is not there, into an
// error about what f reads.
func guard(what string, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %v", what, p)
		}
	}()
	return f()
}
