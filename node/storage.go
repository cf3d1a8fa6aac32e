package node

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// ErrStorage says that the node could not write its log, and has stopped by itself;
// the text says why and what to do. What was acknowledged is not lost. Of a write
// that was under way the outcome is unknown.
var ErrStorage = errors.New("node: cannot write to the data directory")

// storage is Raft's log and vote on a disk that may fail. The first write that does
// is the last: a log that a write failed in the middle of, or a sync, is sound again
// only when it has been read anew. (The log store does not even try: a segment that
// could not be followed by another one takes nothing any more.) Raft itself would go
// on, stand for election again and again, and panic if it cannot store its term.
type storage struct {
	*wal.WAL
	fail func(error) // called once

	mu     sync.Mutex
	err    error // of the first write that failed
	sealed error // why no segment follows the present one
}

// noSegment notes why the log cannot go on beyond its present segment. The next entry
// says only that this one takes no more.
func (s *storage) noSegment(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = err
}

// write carries one out, unless an earlier one has failed.
func (s *storage) write(what string, do func() error) error {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err = do(); err == nil {
		return nil
	}
	s.mu.Lock()
	if errors.Is(err, wal.ErrSealed) && s.sealed != nil {
		err = s.sealed
	}
	err = fmt.Errorf("%s: %w", what, err)
	first := s.err == nil
	if first {
		s.err = err
	}
	s.mu.Unlock()
	if first {
		s.fail(err)
	}
	return err
}

// GetLog implements [raft.LogStore]. The log store goes on finding what was deleted at its
// beginning, as long as it is in the newest segment.
func (s *storage) GetLog(index uint64, l *raft.Log) error {
	if first, err := s.FirstIndex(); err != nil {
		return err
	} else if index < first {
		return raft.ErrLogNotFound
	}
	return s.WAL.GetLog(index, l)
}

// StoreLog implements [raft.LogStore].
func (s *storage) StoreLog(l *raft.Log) error {
	return s.write("append to the Raft log", func() error { return s.WAL.StoreLog(l) })
}

// StoreLogs implements [raft.LogStore].
func (s *storage) StoreLogs(l []*raft.Log) error {
	return s.write("append to the Raft log", func() error { return s.WAL.StoreLogs(l) })
}

// DeleteRange implements [raft.LogStore].
func (s *storage) DeleteRange(from, to uint64) error {
	return s.write("cut the Raft log", func() error { return s.WAL.DeleteRange(from, to) })
}

// Set implements [raft.StableStore].
func (s *storage) Set(key, value []byte) error {
	return s.write("store Raft's vote", func() error { return s.WAL.Set(key, value) })
}

// SetUint64 implements [raft.StableStore]. A term that cannot be stored is no error
// to Raft, which would panic. It has it in memory then until it is shut down, and
// does nothing with it that a stored term is needed for, because that is to vote
// and to append, which fail.
func (s *storage) SetUint64(key []byte, value uint64) error {
	err := s.write("store Raft's term", func() error { return s.WAL.SetUint64(key, value) })
	if string(key) == currentTerm {
		return nil
	}
	return err
}

const currentTerm = "CurrentTerm" // Raft's key

// storageError says what to do about a write that failed.
func storageError(dir *dataDir, err error) error {
	return fmt.Errorf("%w %s: %w; %s, then start the node again: nothing that was acknowledged is lost", ErrStorage, dir.path, err, remedy(err))
}

// remedy is what helps against an error of the file system.
func remedy(err error) string {
	switch {
	case full(err):
		return "make room there, or lift the limit"
	case readOnly(err):
		return "check the mount, its owner and permissions"
	case noFileLeft(err):
		return "raise the limit of open files (ulimit -n), of which each client takes one"
	}
	return "look after the disk, and after what else is there"
}

func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

func noFileLeft(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

func readOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM)
}
