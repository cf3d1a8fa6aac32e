package node

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
)

// lateEnd is a log that holds its node up where that is about to end Raft, until it is closed.
type lateEnd struct {
	io.Writer
	end chan struct{}
}

func (l lateEnd) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "stopped by itself") {
		<-l.end
	}
	return l.Writer.Write(b)
}

// TestNoWriteWithoutIdentity: where the cluster's name cannot be recorded no write is
// acknowledged, also while Raft has not ended yet.
func TestNoWriteWithoutIdentity(t *testing.T) {
	t.Parallel()
	config := single(t)
	dir := dataDir{path: config.DataDir}
	if _, err := openIdentity(dir.identity(), DefaultID); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir.identity()+".new", 0o750); err != nil { // in the way of the next record
		t.Fatal(err)
	}
	log := lateEnd{t.Output(), make(chan struct{})}
	config.Logger = slog.New(slog.NewTextHandler(log, nil))
	n := start(t, config)
	t.Cleanup(func() { close(log.end) })
	within(t, "the failure", func() struct{} { return <-n.Failed() })
	if err := n.Err(); !errors.Is(err, ErrStorage) {
		t.Errorf("it stopped for %v; want %v", err, ErrStorage)
	}
	if revision, err := revisionOf(request(t, connect(t, n.NATSURL()), "kv.put.k", []byte("v"))); err == nil {
		t.Errorf("a write is acknowledged at %d", revision)
	}
}
