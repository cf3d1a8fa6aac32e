package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/watchcast/watchcast/internal/natstest"
	"github.com/watchcast/watchcast/nats"
)

// limitFiles has the kernel refuse to make any file of the process longer, as a
// full disk does, and unlike one for this process only. 0 lifts the limit.
func (p *process) limitFiles(bytes uint64) {
	p.t.Helper()
	limit := &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}
	if bytes == 0 {
		limit.Cur = unix.RLIM_INFINITY
	}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, limit, nil); err != nil {
		p.t.Fatal(err)
	}
}

// TestDiskFull: a node whose log does not fit on the disk any more says so and
// ends, with a code of its own; nothing is acknowledged that was not stored; and
// when there is room again it has all that was. It is so also if the write that did
// not fit was cut in its middle.
func TestDiskFull(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit uint64 // of the segment's 64 MiB
		size  int    // of a value
	}{
		{"in the middle of a segment", 1 << 20, 10_000},
		{"within one write", 1<<20 + 777, 300_000},
		{"far into a segment", 63 << 20, 1_000_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := startProcess(t, nil, nodeArgs(dir)...)
			p.ready()
			conn := natstest.Connect(t, p.url(), natsgo.NoReconnect())
			p.limitFiles(c.limit)
			acknowledged := fill(t, conn, c.size)
			if code := p.exit(); code != exitItself {
				t.Errorf("exit code %d, want %d", code, exitItself)
			}
			p.oneLine(`cannot write to the data directory ` + regexp.QuoteMeta(dir) + `: append to the Raft log: .*file too large; make room there, or lift the limit, then start the node again: nothing that was acknowledged is lost`)
			if strings.Contains(p.stderr.String(), "goroutine ") {
				t.Error("it panicked")
			}

			again := startProcess(t, nil, nodeArgs(dir)...)
			again.ready()
			wantValues(t, connect(t, again.url()), acknowledged, c.size)
		})
	}
}

// fill puts values until one is not acknowledged, and returns the revisions of
// those that were.
func fill(t *testing.T, conn *natsgo.Conn, size int) map[string]uint64 {
	t.Helper()
	acknowledged := make(map[string]uint64)
	for i := 0; ; i++ {
		key := fmt.Sprintf("fill.%d", i)
		reply, err := conn.Request("kv.put."+key, valueOf(key, size), limit)
		if err != nil {
			if len(acknowledged) == 0 {
				t.Fatalf("nothing was acknowledged: %v", err)
			}
			return acknowledged // the node ended before it could answer
		}
		if code := reply.Header.Get("Nats-Service-Error-Code"); code != "" {
			if code != "504" && code != "503" {
				t.Errorf("the write that does not fit is answered %s %s; want 504 or 503", code, reply.Header.Get("Nats-Service-Error"))
			}
			return acknowledged
		}
		if acknowledged[key], err = strconv.ParseUint(reply.Header.Get(nats.HeaderRev), 10, 64); err != nil {
			t.Fatal(err)
		}
	}
}

func valueOf(key string, size int) []byte {
	return []byte(strings.Repeat(key+" ", size/(len(key)+1)))
}

func wantValues(t *testing.T, conn *natsgo.Conn, acknowledged map[string]uint64, size int) {
	t.Helper()
	for key, revision := range acknowledged {
		got, err := conn.Request("kv.get."+key, nil, limit)
		if err != nil {
			t.Fatal(err)
		}
		if string(got.Data) != string(valueOf(key, size)) || got.Header.Get(nats.HeaderRev) != fmt.Sprint(revision) {
			t.Fatalf("the acknowledged write of %s at %d is lost: %d bytes, %v", key, revision, len(got.Data), got.Header)
		}
	}
	t.Logf("%d acknowledged writes are there", len(acknowledged))
}

// TestNoRoomToStart: a node that cannot be started because the disk is full says
// that, does not take its log for damaged, and leaves it as it was.
func TestNoRoomToStart(t *testing.T) {
	dir := t.TempDir()
	first := startProcess(t, nil, nodeArgs(dir)...)
	first.ready()
	if _, err := connect(t, first.url()).Request("kv.put.k", []byte("v"), limit); err != nil {
		t.Fatal(err)
	}
	first.signal(os.Interrupt)
	first.exit()

	var old unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_FSIZE, nil, &old); err != nil {
		t.Fatal(err)
	}
	// A shell is the portable way to have it begin with the limit.
	p := startAs(t, []string{"/bin/sh", "-c", `ulimit -f 8; exec "$@"`, "sh", os.Args[0]}, nil, nodeArgs(dir)...)
	if code := p.exit(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	p.oneLine(`data directory ` + regexp.QuoteMeta(dir) + `: .* cannot be written; make room there, or lift the limit: .*file too large`)

	second := startProcess(t, nil, nodeArgs(dir)...)
	second.ready()
	got, err := connect(t, second.url()).Request("kv.get.k", nil, limit)
	if err != nil || string(got.Data) != "v" {
		t.Fatalf("what was written before: %v, %v", got, err)
	}
}

// TestFullDiskOfOneNode: of three nodes the leader's disk is full. It ends, the
// others go on, and nothing that was acknowledged is lost, also when it is back.
func TestFullDiskOfOneNode(t *testing.T) {
	c := startCluster(t, 3, nil)
	leader := c.leader()
	conn := c.connect()
	before := putSome(t, conn, "before", 20)
	c.nodes[leader].limitFiles(segmentUsed(t, c.dirs[leader]))
	acknowledged := putSome(t, conn, "during", 20)
	if code := c.nodes[leader].exit(); code != exitItself {
		t.Errorf("exit code %d, want %d", code, exitItself)
	}
	c.nodes[leader].oneLine(`cannot write to the data directory`)
	c.restart(leader)
	c.wantAll(before)
	c.wantAll(acknowledged)
}

// segmentUsed returns how much of the newest segment of the log holds something.
func segmentUsed(t *testing.T, dir string) uint64 {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "raft", "*.wal"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments %v, %v; want one", segments, err)
	}
	data, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	return uint64(len(strings.TrimRight(string(data), "\x00")))
}

// TestVoteDoesNotFit: a node that cannot store its vote, or the term it is in, gives
// none, and ends as one does that cannot store an entry.
func TestVoteDoesNotFit(t *testing.T) {
	c := startCluster(t, 3, nil)
	acknowledged := putSome(t, c.connect(), "k", 20)
	leader := c.leader()
	other := (leader + 1) % 3
	c.nodes[other].limitFiles(1)
	c.nodes[leader].kill()
	if code := c.nodes[other].exit(); code != exitItself {
		t.Errorf("exit code %d, want %d", code, exitItself)
	}
	c.nodes[other].oneLine(`cannot write to the data directory .*: store Raft's (term|vote): .*file too large; make room there`)
	c.restart(leader)
	c.restart(other)
	c.wantAll(acknowledged)
}
