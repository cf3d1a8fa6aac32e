package node

import (
	"errors"
	"fmt"
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

// TestSharesOfFiles: what connections may take leaves enough for the node itself, with every
// limit that it starts with.
func TestSharesOfFiles(t *testing.T) {
	for _, c := range []struct {
		name     string
		config   Config
		least    int
		segments int
	}{
		{"as it comes", Config{}, 128, 0},
		{"in memory", Config{InMemory: true, MaxLogBytes: 1 << 40}, 128, 0},
		{"a long log", Config{MaxLogBytes: 64 << 30}, 128 + 2*(1536-8), 1536 - 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.defaults()
			if _, err := c.config.share(c.least - 1); !errors.Is(err, ErrOpenFiles) || !strings.Contains(err.Error(), fmt.Sprint("needs ", c.least, " or more")) {
				t.Errorf("one less: %v", err)
			}
			for files := c.least; files < 1<<21; files += 1 + files/100 {
				s, err := c.config.share(files)
				if err != nil {
					t.Fatal(err)
				}
				if own := files - s.clients - s.http - s.raft; s.clients < 16 || s.http < 16 || s.raft < 16 || own < max(64, files/8)+c.segments {
					t.Fatalf("of %d files: %+v, and %d for the node itself", files, s, own)
				}
			}
		})
	}
	c := Config{MaxLogBytes: 1<<63 - 1}
	if _, err := c.share(1 << 20); !errors.Is(err, ErrOpenFiles) {
		t.Errorf("a log without end: %v", err)
	}
}
