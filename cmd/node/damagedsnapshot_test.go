package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDamagedSnapshot: the newest snapshot of a node that was stopped is damaged, and its log
// does not reach back to the one before. The process ends with one line and the exit code of
// what cannot start, and leaves all as it is.
func TestDamagedSnapshot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := nodeArgs(dir, "--max-log-bytes", "1048576")
	p := startProcess(t, nil, args...)
	p.ready()
	conn := connect(t, p.url())
	value := strings.Repeat("x", 4<<10)
	var revision string
	for newest, older := newestSnapshot(t, dir); newest == "" || older == ""; newest, older = newestSnapshot(t, dir) {
		revision = putKey(t, conn, "k", value)
	}
	p.signal(os.Interrupt)
	p.exit()
	newest, _ := newestSnapshot(t, dir)
	state := filepath.Join(dir, "snapshots", newest, "state.bin")
	flip := func() {
		t.Helper()
		data, err := os.ReadFile(state)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(state, data, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	for range 2 {
		p = startProcess(t, nil, args...)
		if code := p.exit(); code != exitFailed {
			t.Errorf("exit code %d, want %d", code, exitFailed)
		}
		p.oneLine(`^node: corrupt data: .*nothing was changed; restore ` + dir + ` .*snapshot is damaged: ` + newest)
	}
	flip()
	p = startProcess(t, nil, args...)
	p.ready()
	wantKey(t, connect(t, p.url()), "k", value, revision)
}

// newestSnapshot returns the names of the two newest snapshots in a data directory, empty for none.
func newestSnapshot(t *testing.T, dir string) (newest, older string) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dir, "snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	var high, low uint64
	for _, f := range files {
		var term, index, ms uint64
		if _, err := fmt.Sscanf(f.Name(), "%d-%d-%d", &term, &index, &ms); err != nil || strings.HasSuffix(f.Name(), ".tmp") {
			continue
		}
		switch {
		case index > high:
			newest, older, high, low = f.Name(), newest, index, high
		case index > low:
			older, low = f.Name(), index
		}
	}
	return newest, older
}
