package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/internal/natstest"
	"github.com/watchcast/watchcast/internal/smalldisk"
)

const mib = 1 << 20

// TestSmallDisk fills the file system of a node, within a segment of the log, where the
// file system does not keep what was reserved, and where the next segment is to be
// made. As in TestDiskFull, it says so and ends; while there is no room it does not
// start, and says that; with room it has all that was acknowledged.
func TestSmallDisk(t *testing.T) {
	for _, c := range []struct {
		name string
		fill func(disk *smalldisk.Disk, segment string)
		size int // of a value
	}{
		{"in the middle of a segment", func(disk *smalldisk.Disk, segment string) {
			disk.Thin(segment)
			disk.Fill(mib)
		}, 10_000},
		{"within one write", func(disk *smalldisk.Disk, segment string) {
			disk.Thin(segment)
			disk.Fill(mib)
		}, 300_000},
		{"at the next segment", func(disk *smalldisk.Disk, _ string) { disk.Fill(10 * mib) }, 1_000_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			disk := smalldisk.New(t, 160*mib) // two segments, and some
			dir := filepath.Join(disk.Dir, "data")
			p := startProcess(t, nil, nodeArgs(dir)...)
			p.ready()
			conn := natstest.Connect(t, p.url(), natsgo.NoReconnect())
			c.fill(disk, segmentOf(t, dir))
			acknowledged := fill(t, conn, c.size)
			if code := p.exit(); code != exitItself {
				t.Errorf("exit code %d, want %d", code, exitItself)
			}
			p.oneLine(`cannot write to the data directory ` + regexp.QuoteMeta(dir) + `: append to the Raft log: .*no space left on device; make room there, or lift the limit, then start the node again: nothing that was acknowledged is lost`)
			if strings.Contains(p.stderr.String(), "goroutine ") {
				t.Error("it panicked")
			}

			disk.Fill(0)
			full := startProcess(t, nil, nodeArgs(dir)...)
			if code := full.exit(); code != exitFailed {
				t.Errorf("without room: exit code %d, want %d", code, exitFailed)
			}
			full.oneLine(`data directory ` + regexp.QuoteMeta(dir) + `: .* cannot be written.*; make room there, or lift the limit: [^;]*no space left on device\n$`)

			disk.MakeRoom()
			again := startProcess(t, nil, nodeArgs(dir)...)
			again.ready()
			wantValues(t, connect(t, again.url()), acknowledged, c.size)
			putSome(t, connect(t, again.url()), "after", 5)
		})
	}
}

// segmentOf returns the only segment of the log.
func segmentOf(t *testing.T, dir string) string {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "raft", "*.wal"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments %v, %v; want one", segments, err)
	}
	return segments[0]
}

// TestBackupOnFullDisk: a backup that does not fit leaves nothing, and the file that it
// was to replace as it is.
func TestBackupOnFullDisk(t *testing.T) {
	n := startProcess(t, nil, nodeArgs(t.TempDir())...)
	conn := connect(t, n.url())
	n.ready()
	putKey(t, conn, "small", "v")
	disk := smalldisk.New(t, 4*mib)
	file := filepath.Join(disk.Dir, "state.backup")
	if code, _, wrong := ended(t, "backup", file, "--http", n.httpAddr()); code != exitOK {
		t.Fatalf("exit code %d, said %q", code, wrong)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b", "c"} {
		putKey(t, conn, key, strings.Repeat("v", 1_000_000))
	}
	disk.Fill(2 * mib)
	for _, c := range []struct {
		name string
		args []string
		left []string
	}{
		{"new", []string{"backup", filepath.Join(disk.Dir, "later.backup")}, []string{"ballast", "state.backup"}},
		{"replacing", []string{"backup", "--force", file}, []string{"ballast", "state.backup"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, said, wrong := ended(t, append(c.args, "--http", n.httpAddr())...)
			if code != exitFailed || said != "" || !regexp.MustCompile(`^node backup: .*no space left on device\n$`).MatchString(wrong) {
				t.Errorf("exit code %d, printed %q, said %q", code, said, wrong)
			}
			only(t, disk.Dir, c.left...)
			if now, err := os.ReadFile(file); err != nil || string(now) != string(before) {
				t.Errorf("the file that was there has %d bytes, %v; had %d", len(now), err, len(before))
			}
		})
	}
	disk.MakeRoom()
	if code, _, wrong := ended(t, "backup", "--force", file, "--http", n.httpAddr()); code != exitOK {
		t.Errorf("with room: exit code %d, said %q", code, wrong)
	}
}
