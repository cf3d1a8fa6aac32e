package node

import (
	"io"
	"time"
)

// snapshotStall is how long a node that is sent a snapshot waits for more of it.
const snapshotStall = 5 * transportTimeout

// stallingReader is a snapshot that is sent. Raft reads it in its own loop, without a time
// limit: behind a leader that is paused meanwhile, or cut off, the node would neither vote nor
// follow another one. So where nothing comes its connection is closed.
type stallingReader struct {
	in    io.Reader
	timer *time.Timer // closes the connection
}

func newStallingReader(in io.Reader, stalled func()) *stallingReader {
	timer := time.AfterFunc(snapshotStall, stalled)
	timer.Stop()
	return &stallingReader{in, timer}
}

// Read implements [io.Reader].
func (s *stallingReader) Read(b []byte) (int, error) {
	s.timer.Reset(snapshotStall)
	defer s.timer.Stop()
	return s.in.Read(b)
}
