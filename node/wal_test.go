package node

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// TestLogWithReplacedTail: a log whose end a new leader has replaced, as it does
// with what a crashed one had not committed, can be read after a restart.
// raft-wal 0.4.0 could not: the node never started again.
func TestLogWithReplacedTail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "raft")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	store := func(from, to uint64, term uint64) {
		t.Helper()
		log, meta, err := openLog(dir, hclog.NewNullLogger(), func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := log.Close(); err != nil {
				t.Error(err)
			}
			if err := meta.Close(); err != nil {
				t.Error(err)
			}
		}()
		if last, err := log.LastIndex(); err != nil {
			t.Fatal(err)
		} else if last >= from {
			if err := log.DeleteRange(from, last); err != nil {
				t.Fatal(err)
			}
		}
		for i := from; i <= to; i++ {
			if err := log.StoreLog(&raft.Log{Index: i, Term: term, Data: []byte(strconv.FormatUint(term, 10))}); err != nil {
				t.Fatal(err)
			}
		}
	}
	store(1, 10, 1)
	store(8, 12, 2)
	store(8, 9, 3) // the whole of the newest segment
	store(10, 20, 4)

	log, meta, err := openLog(dir, hclog.NewNullLogger(), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close(); meta.Close() })
	if last, err := log.LastIndex(); err != nil || last != 20 {
		t.Fatalf("last index is %d, %v; want 20", last, err)
	}
	for i := uint64(1); i <= 20; i++ {
		want := uint64(1)
		switch {
		case i >= 10:
			want = 4
		case i >= 8:
			want = 3
		}
		var got raft.Log
		if err := log.GetLog(i, &got); err != nil || got.Term != want || string(got.Data) != strconv.FormatUint(want, 10) {
			t.Errorf("entry %d: term %d, %q, %v; want term %d", i, got.Term, got.Data, err, want)
		}
	}
}
