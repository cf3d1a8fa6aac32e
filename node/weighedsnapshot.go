package node

import (
	"errors"
	"io"

	"github.com/hashicorp/raft"
)

// weighedSnapshot knows how much of the log it takes the place of.
type weighedSnapshot struct {
	raft.FSMSnapshot
	compaction      *compaction
	void            <-chan struct{}
	revision        uint64
	weight, entries int64
	noting          bool
}

var errVoid = errors.New("node: another state has taken the place of this one")

// Persist implements [raft.FSMSnapshot].
func (s *weighedSnapshot) Persist(sink raft.SnapshotSink) error {
	if in, ok := sink.(*standingSink); ok {
		in.own = true
	}
	counted := &countingSink{SnapshotSink: sink, write: s.compaction.over, whole: s.finish}
	if err := s.FSMSnapshot.Persist(counted); err != nil {
		return err
	}
	c := s.compaction
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replaced(s.weight, s.entries, counted.n)
	return nil
}

// finish returns when the snapshot may be whole, and holds up a restore from then on.
func (s *weighedSnapshot) finish() error {
	if err := s.compaction.recorded(s.revision, s.void); err != nil {
		return err
	}
	s.compaction.noting.Lock()
	s.noting = true
	select {
	case <-s.void:
		return errVoid
	default:
		return nil
	}
}

// Release implements [raft.FSMSnapshot]. Raft calls it when it has noted the snapshot.
func (s *weighedSnapshot) Release() {
	s.FSMSnapshot.Release()
	if s.noting {
		s.compaction.noting.Unlock()
	}
}

// countingSink counts what is written, and asks whether it may go on, and be whole.
type countingSink struct {
	raft.SnapshotSink
	write, whole func() error
	n            int64
}

func (s *countingSink) Write(b []byte) (int, error) {
	if err := s.write(); err != nil {
		return 0, err
	}
	n, err := s.SnapshotSink.Write(b)
	s.n += int64(n)
	return n, err
}

func (s *countingSink) Close() error {
	if err := s.whole(); err != nil {
		return err
	}
	return s.SnapshotSink.Close()
}

type countingReader struct {
	io.ReadCloser
	n int64
}

func (r *countingReader) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	r.n += int64(n)
	return n, err
}
