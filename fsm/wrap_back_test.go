package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// forgetful loses the answer to the first snapshot that it sends.
type forgetful struct {
	*raft.InmemTransport
	lost atomic.Bool
}

func (f *forgetful) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, request *raft.InstallSnapshotRequest, answer *raft.InstallSnapshotResponse, data io.Reader) error {
	err := f.InmemTransport.InstallSnapshot(id, to, request, answer, data)
	if err == nil && answer.Success && f.lost.CompareAndSwap(false, true) {
		return errors.New("the connection was lost")
	}
	return err
}

func snapshotFiles(t *testing.T) raft.SnapshotStore {
	t.Helper()
	files, err := raft.NewFileSnapshotStoreWithLogger(t.TempDir(), 2, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestWrapSnapshotTwice: Raft sends a snapshot again when the answer was lost. The second
// Reset then stands where the next entry comes, which is told all the same.
func TestWrapSnapshotTwice(t *testing.T) {
	_, there := raft.NewInmemTransport("")
	here, transport := raft.NewInmemTransport("")
	there.Connect(here, transport)
	transport.Connect(there.LocalAddr(), there)
	network := &forgetful{InmemTransport: there}
	leader := startRaftOn(t, network, newLedger(), raft.NewInmemStore(), snapshotFiles(t))

	inner := newLedger()
	f, ring := wrapLedger(t, inner, postings)
	w := watchAll(t, ring, 0)
	joinRaft(t, "n2", transport, f, raft.NewInmemStore(), snapshotFiles(t))
	if err := leader.AddNonvoter("n2", here, 0, 0).Error(); err != nil {
		t.Fatal(err)
	}
	_, seen := apply(t, leader, "a=1")
	wantLines(t, next(t, w, 1), fmt.Sprintf(`%d put a=1 was "" of 0`, seen))

	there.Disconnect(here)
	apply(t, leader, "a=2")
	if err := leader.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	there.Connect(here, transport)
	nextUntil(t, w, fmt.Sprintf(`%d reset`, seen+2))
	if !network.lost.Load() {
		t.Fatal("no answer was lost")
	}
	apply(t, leader, "a=3") // at seen+2
	nextUntil(t, w, fmt.Sprintf(`%d reset`, seen+3))
	if values := inner.state(); values["a"] != "3" {
		t.Errorf("a is %q when the reset is received", values["a"])
	}
	// What changes nothing takes an index, too, and so the log comes as far.
	_, last := apply(t, leader, "", "a=4")
	wantLines(t, next(t, w, 1), fmt.Sprintf(`%d put a=4 was "3" of 0`, last))
}

// nextUntil takes resets, and what is lost between them, up to one.
func nextUntil(t *testing.T, w *fanout.Watcher, reset string) {
	t.Helper()
	for {
		switch e := next(t, w, 1)[0]; {
		case e == reset:
			return
		case !strings.Contains(e, " reset") && !strings.Contains(e, " lagged "):
			t.Fatalf("%s comes before %s", e, reset)
		}
	}
}

// leads speaks Raft as the leader of n2, which has no vote.
type leads struct {
	t         *testing.T
	transport *raft.InmemTransport
	to        raft.ServerAddress
}

func (l leads) header() raft.RPCHeader {
	addr := []byte(l.transport.LocalAddr())
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("n1"), Addr: addr}
}

const leadsIn = 2 // term

// install sends a snapshot that stands at an index.
func (l leads) install(index uint64, state string) {
	l.t.Helper()
	request := &raft.InstallSnapshotRequest{
		RPCHeader: l.header(), SnapshotVersion: raft.SnapshotVersionMax, Term: leadsIn,
		LastLogIndex: index, LastLogTerm: leadsIn, Size: int64(len(state)), ConfigurationIndex: 1,
		Configuration: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{
			{ID: "n1", Address: l.transport.LocalAddr()}, {Suffrage: raft.Nonvoter, ID: "n2", Address: l.to},
		}}),
	}
	var answer raft.InstallSnapshotResponse
	if err := l.transport.InstallSnapshot("n2", l.to, request, &answer, strings.NewReader(state)); err != nil || !answer.Success {
		l.t.Fatalf("a snapshot at %d: %v, taken: %v", index, err, answer.Success)
	}
}

// commit sends entries behind an index, which are committed.
func (l leads) commit(behind uint64, words ...string) {
	l.t.Helper()
	request := &raft.AppendEntriesRequest{RPCHeader: l.header(), Term: leadsIn, PrevLogEntry: behind, PrevLogTerm: leadsIn}
	for _, w := range words {
		behind++
		request.Entries = append(request.Entries, &raft.Log{Index: behind, Term: leadsIn, Data: []byte(w)})
	}
	request.LeaderCommitIndex = behind
	var answer raft.AppendEntriesResponse
	if err := l.transport.AppendEntries("n2", l.to, request, &answer); err != nil || !answer.Success {
		l.t.Fatalf("entries up to %d: %v, taken: %v", behind, err, answer.Success)
	}
}

// TestWrapGoesBackUnderRaft: a snapshot that lay in the network comes when its node has gone
// on, and Raft takes it, and applies again what lies behind it. Watchers are told of each
// change as long as that is below what they have seen, and have the changes themselves when
// it is not.
func TestWrapGoesBackUnderRaft(t *testing.T) {
	for name, c := range map[string]struct {
		inner raft.FSM
		again string // the last reset
		ahead []string
	}{
		"plain":    {newLedger(), `10 reset`, []string{`11 put b=1 was "" of 0`, `12 put b=2 was "1" of 11`}},
		"batching": {&batches{ledger: newLedger()}, `8 reset`, []string{`11 reset`, `12 put b=2 was "1" of 0`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, there := raft.NewInmemTransport("")
			here, transport := raft.NewInmemTransport("")
			there.Connect(here, transport)
			transport.Connect(there.LocalAddr(), there)
			var log bytes.Buffer
			ring := newRing(t)
			f, err := Wrap(c.inner, postings, WrapOptions{Ring: ring, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			w := watchAll(t, ring, 0)
			r := joinRaft(t, "n2", transport, f, raft.NewInmemStore(), snapshotFiles(t))
			leader := leads{t, there, here}

			leader.install(2, `{"a":"2"}`)
			leader.commit(2, "a=3", "a=4", "a=5", "a=6")
			nextUntil(t, w, `2 reset`)
			wantLines(t, next(t, w, 4), `3 put a=3 was "2" of 0`,
				`4 put a=4 was "3" of 3`, `5 put a=5 was "4" of 4`, `6 put a=6 was "5" of 5`)
			leader.install(4, `{"a":"4"}`)
			nextUntil(t, w, `7 reset`)
			leader.commit(6, "a=7") // 5 and 6 are applied again
			nextUntil(t, w, c.again)
			if s := stateOf(t, f); s != `{"a":"7"}`+"\n" {
				t.Errorf("when the last reset is received, the state is %s", s)
			}
			leader.commit(7, "", "nonsense", "", "b=1") // 8 to 11
			wantLines(t, next(t, w, 1), c.ahead[0])
			leader.commit(11, "b=2")
			wantLines(t, next(t, w, 1), c.ahead[1])
			if err := r.Shutdown().Error(); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "went back") {
				t.Errorf("logged:\n%s", &log)
			}
		})
	}
}

// TestWrapRestartWhereItWentBack: what was shown lies above the log then. Of it and the index
// that was applied the lesser one is where a restart goes on, and no change is silenced.
func TestWrapRestartWhereItWentBack(t *testing.T) {
	_, there := raft.NewInmemTransport("")
	here, transport := raft.NewInmemTransport("")
	there.Connect(here, transport)
	leader := leads{t, there, here}
	log, files := raft.NewInmemStore(), snapshotFiles(t)

	f, ring := wrapLedger(t, newLedger(), postings)
	w := watchAll(t, ring, 0)
	r := joinRaft(t, "n2", transport, f, log, files)
	leader.install(2, `{"a":"2"}`)
	nextUntil(t, w, `1 reset`)
	leader.commit(2, "a=3", "a=4")
	nextUntil(t, w, `2 reset`)
	wantLines(t, next(t, w, 2), `3 put a=3 was "2" of 0`, `4 put a=4 was "3" of 3`)
	leader.install(4, `{"a":"4"}`)
	nextUntil(t, w, `5 reset`)
	if err := r.Shutdown().Error(); err != nil {
		t.Fatal(err)
	}
	after := min(ring.Revision(), r.AppliedIndex())

	f, ring = wrapLedger(t, newLedger(), postings)
	w = watchAll(t, ring, after)
	joinRaft(t, "n2", transport, f, log, files)
	leader.commit(4, "a=5")
	wantLines(t, next(t, w, 1), `5 put a=5 was "4" of 0`)
}

// TestWrapGoesBack: whatever happens below what was shown, a watcher hears of it once a batch,
// and of what changes nothing it does not.
func TestWrapGoesBack(t *testing.T) {
	ring := newRing(t)
	var log bytes.Buffer
	f, err := Wrap(&batches{ledger: newLedger()}, func(l *raft.Log, result any) []Change {
		if string(l.Data) == "x=1" {
			panic("bad")
		}
		return postings(l, result)
	}, WrapOptions{Ring: ring, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	reader := ring.Cursor(0)
	defer reader.Close()
	saw := func(want ...string) {
		t.Helper()
		wantLines(t, lines(reader.Poll(make([]*fanout.Event, 0, 16))), want...)
	}
	batch := func(index uint64, words ...string) {
		var logs []*raft.Log
		for i, w := range words {
			logs = append(logs, entry(index+uint64(i), w))
		}
		f.(raft.BatchingFSM).ApplyBatch(logs)
	}
	restore := func(state string) {
		f.Restore(io.NopCloser(strings.NewReader(state)))
	}
	batch(1, "a=1", "b=1", "a=2")
	saw(`1 put a=1 was "" of 0`, `2 put b=1 was "" of 0`, `3 put a=2 was "1" of 1`)
	restore(`{"a":"1"}`) // it stands at 1
	saw(`4 reset`)
	batch(2, "b=1")
	saw(`5 reset`)
	batch(3, "nonsense", "")
	saw()
	restore(`{"a`)
	saw()
	batch(5, "") // what inner holds is anyone's guess
	saw(`6 reset`)
	if !strings.Contains(log.String(), "could not be restored") {
		t.Errorf("logged:\n%s", &log)
	}
	batch(6, "x=1") // what has changed is not known
	saw(`7 reset`)
	batch(7, "", "c=1", "a=3", "")
	saw(`10 reset`)
	batch(11, "c=2", "b=2")
	saw(`11 put c=2 was "1" of 0`, `12 put b=2 was "1" of 0`)
	restore(`{}`) // it stands at 12
	saw(`13 reset`)
	batch(13, "d=1")
	saw(`14 reset`)
	batch(16, "d=3") // the index between was Raft's
	saw(`16 put d=3 was "1" of 0`)
	restore(`{}`) // at 20
	saw(`17 reset`)
	batch(21, "d=2")
	saw(`20 reset`, `21 put d=2 was "" of 0`)
}
