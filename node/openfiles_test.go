package node

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

// TestNoFileLeft: where no file is left for the next segment of the log, because clients have
// them, it is not the disk that is to be looked after.
func TestNoFileLeft(t *testing.T) {
	err := storageError(&dataDir{path: "d"}, &fs.PathError{Op: "open", Path: "d/raft/1.wal", Err: syscall.EMFILE})
	if want := "too many open files; raise the limit of open files (ulimit -n)"; !errors.Is(err, ErrStorage) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %q", err, want)
	}
}
