package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/internal/natstest"
	"github.com/watchcast/watchcast/nats"
)

// witness records all that a node publishes.
type witness struct {
	t        *testing.T
	messages chan *natsgo.Msg
	events   map[uint64]int // times each revision was published
	resets   []nats.Range
	beacons  int
}

func newWitness(t *testing.T, conn *natsgo.Conn) *witness {
	t.Helper()
	w := &witness{t: t, messages: make(chan *natsgo.Msg, 1<<18), events: make(map[uint64]int)}
	for _, subject := range []string{"watch.>", "_watch.>"} {
		if _, err := conn.ChanSubscribe(subject, w.messages); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *witness) record(m *natsgo.Msg) {
	w.t.Helper()
	var s nats.Subjects
	if err := s.Check(); err != nil {
		w.t.Fatal(err)
	}
	switch m.Subject {
	case s.Beacon():
		w.beacons++
	case s.Ack(): // what the node says of itself
	case s.Reset():
		r, err := nats.DecodeReset(m)
		if err != nil {
			w.t.Fatal(err)
		}
		w.resets = append(w.resets, r.Range)
	default:
		e, err := s.DecodeEvent(m)
		if err != nil {
			w.t.Fatal(err)
		}
		w.events[e.Revision]++
	}
}

// drain records what has come.
func (w *witness) drain() {
	for len(w.messages) > 0 {
		w.record(<-w.messages)
	}
}

// until records what comes until revision has been published.
func (w *witness) until(revision uint64) {
	w.t.Helper()
	ctx := bounded(w.t)
	for w.events[revision] == 0 {
		select {
		case m := <-w.messages:
			w.record(m)
		case <-ctx.Done():
			w.t.Fatalf("revision %d was not published within %v", revision, limit)
		}
	}
}

func (w *witness) lost(revision uint64) bool {
	for _, r := range w.resets {
		if r.From <= revision && revision <= r.To {
			return true
		}
	}
	return false
}

// announcedRevision reads the node's record; 0 if there is none.
func announcedRevision(t *testing.T, dir string) uint64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "announced"))
	if os.IsNotExist(err) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	var record struct{ Revision uint64 }
	if err := json.Unmarshal(data, &record); err != nil {
		t.Fatalf("record %q: %v", data, err)
	}
	return record.Revision
}

// write puts keys until the node is gone, and returns the revision of each put
// that was acknowledged. It closes enough after so many of them.
func write(conn *natsgo.Conn, writer, many int, enough func()) map[string]uint64 {
	acknowledged := make(map[string]uint64)
	for i := 0; ; i++ {
		key := fmt.Sprintf("crash.%d.%d", writer, i)
		reply, err := conn.Request("kv.put."+key, []byte(key), limit)
		if err != nil {
			return acknowledged
		}
		revision, err := strconv.ParseUint(reply.Header.Get(nats.HeaderRev), 10, 64)
		if err != nil {
			return acknowledged
		}
		acknowledged[key] = revision
		if len(acknowledged) == many {
			enough()
		}
	}
}

// TestCrash kills the node while writers are at work, and starts it again: no
// acknowledged write is lost; every one of them was announced, before or after,
// or lies in a range that was announced as lost; and nothing repeats that was
// recorded as announced.
func TestCrash(t *testing.T) {
	for name, c := range map[string]struct {
		many  int // writes of each writer that are enough
		flags []string
	}{
		"log only":         {500 + rand.IntN(500), nil},
		"beside snapshots": {1500 + rand.IntN(1500), []string{"--max-log-bytes", "1048576"}},
	} {
		t.Run(name, func(t *testing.T) { testCrash(t, c.many, c.flags) })
	}
}

func testCrash(t *testing.T, many int, flags []string) {
	const writers = 8
	dir := t.TempDir()
	first := startProcess(t, nil, nodeArgs(dir, flags...)...)
	url := first.url()
	before := newWitness(t, connect(t, url))

	written := make([]map[string]uint64, writers)
	enough := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	for i := range writers {
		// A connection that does not come back ends its writer.
		conn := natstest.Connect(t, url, natsgo.NoReconnect())
		wg.Go(func() { written[i] = write(conn, i, many, func() { once.Do(func() { close(enough) }) }) })
	}
	select {
	case <-enough:
	case <-bounded(t).Done():
		t.Fatal("the writers did not get on")
	}
	first.kill()
	wg.Wait()
	before.drain()
	recorded := announcedRevision(t, dir)

	// On the same port, and with time before it leads, so that the witness is
	// there before anything is published.
	second := startProcess(t, nil, "--data", dir, "--nats", strings.TrimPrefix(url, "nats://"), "--http", "off", "--election-timeout", "3s")
	conn := connectSoon(t, url)
	after := newWitness(t, conn)
	if strings.Contains(second.stdout.String(), "ready") {
		t.Fatal("the node was ready before the witness")
	}
	second.ready()
	reply, err := conn.Request("kv.put.marker", nil, limit)
	if err != nil {
		t.Fatal(err)
	}
	marker, err := strconv.ParseUint(reply.Header.Get(nats.HeaderRev), 10, 64)
	if err != nil {
		t.Fatalf("put after the crash: %v", reply.Header)
	}
	after.until(marker)

	count := 0
	for _, acknowledged := range written {
		for key, revision := range acknowledged {
			count++
			got, err := conn.Request("kv.get."+key, nil, limit)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Data) != key || got.Header.Get(nats.HeaderRev) != fmt.Sprint(revision) {
				t.Fatalf("acknowledged write of %s at %d is lost: %q %v", key, revision, got.Data, got.Header)
			}
			if before.events[revision]+after.events[revision] == 0 && !after.lost(revision) {
				t.Errorf("acknowledged write of %s at %d was never announced, nor said to be lost", key, revision)
			}
		}
	}
	for revision := range after.events {
		if revision <= recorded {
			t.Errorf("revision %d was announced again, though the record said %d", revision, recorded)
		}
	}
	t.Logf("%d acknowledged, record at %d, %d published before and %d after the crash, resets %v",
		count, recorded, len(before.events), len(after.events), after.resets)
	if len(after.resets) > 0 {
		t.Errorf("resets %v; with a record, and a ring that holds everything above it, there is none", after.resets)
	}
}

// TestCrashWithoutRecord starts a node on a log whose record of what was
// announced is gone, or unreadable: it says that everything may be lost.
func TestCrashWithoutRecord(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"gone":       os.Remove,
		"unreadable": func(path string) error { return os.WriteFile(path, []byte{0, 0, 0, 0}, 0o600) },
		"of another cluster": func(path string) error {
			return os.WriteFile(path, []byte(`{"cluster":"another","term":99,"revision":3}`), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			first := startProcess(t, nil, nodeArgs(dir)...)
			reply, err := connect(t, first.url()).Request("kv.put.k", []byte("v"), limit)
			if err != nil {
				t.Fatal(err)
			}
			last, err := strconv.ParseUint(reply.Header.Get(nats.HeaderRev), 10, 64)
			if err != nil {
				t.Fatal(reply.Header)
			}
			first.signal(os.Interrupt)
			if code := first.exit(); code != exitOK {
				t.Fatalf("exit code %d", code)
			}
			if err := spoil(filepath.Join(dir, "announced")); err != nil {
				t.Fatal(err)
			}

			second := startProcess(t, nil, nodeArgs(dir)...)
			conn := connect(t, second.url())
			w := newWitness(t, conn)
			second.ready()
			if reply, err = conn.Request("kv.put.k", []byte("w"), limit); err != nil {
				t.Fatal(err)
			}
			next, err := strconv.ParseUint(reply.Header.Get(nats.HeaderRev), 10, 64)
			if err != nil {
				t.Fatal(reply.Header)
			}
			w.until(next)
			// The reset may have gone out before this connection was there;
			// then the beacon repeats it.
			beaconed := resetOfBeacon(t, conn)
			if !w.lost(last) && (beaconed == nil || beaconed.From != 1 || beaconed.To != last) {
				t.Errorf("resets %v, in the beacon %v; want 1 to %d", w.resets, beaconed, last)
			}

			// The new record is good: a third life says nothing.
			second.signal(os.Interrupt)
			if code := second.exit(); code != exitOK {
				t.Fatalf("exit code %d", code)
			}
			third := startProcess(t, nil, nodeArgs(dir)...)
			conn = connect(t, third.url())
			third.ready()
			if again := resetOfBeacon(t, conn); again != nil {
				t.Errorf("reset %v again", again)
			}
		})
	}
}

// TestLogEndsBelowRecord: a log that has lost its end is not taken for a shorter
// one.
func TestLogEndsBelowRecord(t *testing.T) {
	dir := t.TempDir()
	first := startProcess(t, nil, nodeArgs(dir)...)
	if _, err := connect(t, first.url()).Request("kv.put.k", []byte("v"), limit); err != nil {
		t.Fatal(err)
	}
	first.signal(os.Interrupt)
	if code := first.exit(); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	path := filepath.Join(dir, "announced")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(data, &record); err != nil {
		t.Fatal(err)
	}
	record["revision"] = uint64(1 << 40)
	if data, err = json.Marshal(record); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	second := startProcess(t, nil, nodeArgs(dir)...)
	if code := second.exit(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if said := second.stderr.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "changes up to 1099511627776 were announced; restore") {
		t.Errorf("said %q", said)
	}
}

// resetOfBeacon returns the last reset as the next beacon has it.
func resetOfBeacon(t *testing.T, conn *natsgo.Conn) *nats.Range {
	t.Helper()
	sub, err := conn.SubscribeSync("_watch.beacon")
	if err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsgWithContext(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := nats.DecodeBeacon(m)
	if err != nil {
		t.Fatal(err)
	}
	return b.Reset
}
