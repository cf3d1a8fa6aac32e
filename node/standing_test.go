package node

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
)

// setBack is a node that led, and restored a backup of which nobody else has heard. The others
// have ended, and one of them leads in the next term. It has a snapshot from before.
type setBack struct {
	t        *testing.T
	node     *Node
	from     ghost
	other    ghost
	term     uint64 // of who leads
	snapshot *raft.SnapshotMeta
	data     []byte
	revision uint64   // of the snapshot
	before   raft.Log // end of what the node had stored when it restored the backup
}

func newSetBack(t *testing.T, adjust func(*Config)) *setBack {
	t.Helper()
	nodes := clusterOf(t, 3, adjust)
	node, others := split(t, nodes)
	s := &setBack{t: t, node: node, from: ghostOf(t, others[0]), other: ghostOf(t, others[1]), revision: put(t, node, "k", "v")}
	compact := func() {
		t.Helper()
		if err := node.consensus.compact(leastTrailing); err != nil {
			t.Fatal(err)
		}
	}
	compact()
	var in io.Reader
	var err error
	s.snapshot, in = newestSnapshot(t, node)
	if s.data, err = io.ReadAll(in); err != nil {
		t.Fatal(err)
	}
	for range snapshotsKept { // and newer ones that the node has taken itself
		put(t, node, "k", "w")
		compact()
	}
	put(t, node, "k", "x")
	s.before = lastEntry(t, node)
	stop(t, others[0])
	stop(t, others[1])
	restoreAlone(t, node)
	s.term = node.consensus.raft.CurrentTerm() + 1
	return s
}

// send sends the snapshot.
func (s *setBack) send() {
	s.t.Helper()
	if answer, err := s.from.install(s.node, s.term, s.snapshot, bytes.NewReader(s.data)); err != nil || !answer.Success {
		s.t.Fatalf("the snapshot: %+v, %v", answer, err)
	}
	if got := s.node.Revision(); got != s.revision {
		s.t.Fatalf("it stands at revision %d; want %d", got, s.revision)
	}
}

// follow sends n entries of a term behind one, and returns the last of them.
func (s *setBack) follow(behind raft.Log, term uint64, n int) (last raft.Log) {
	s.t.Helper()
	request := &raft.AppendEntriesRequest{RPCHeader: s.from.header(), Term: s.term, PrevLogEntry: behind.Index, PrevLogTerm: behind.Term}
	for range n {
		behind = raft.Log{Index: behind.Index + 1, Term: term}
		request.Entries = append(request.Entries, &raft.Log{Index: behind.Index, Term: term, Type: raft.LogNoop})
	}
	if !s.from.send(s.node, request) {
		s.t.Fatalf("%d entries behind %d are refused", n, request.PrevLogEntry)
	}
	return behind
}

// end is that of the snapshot.
func (s *setBack) end() raft.Log { return raft.Log{Index: s.snapshot.Index, Term: s.snapshot.Term} }

func (s *setBack) restart() {
	s.t.Helper()
	stop(s.t, s.node)
	s.begin()
}

// begin starts the node, which has ended.
func (s *setBack) begin() {
	s.t.Helper()
	s.node = start(s.t, s.node.config)
	s.from, s.other = ghostOf(s.t, s.from.of), ghostOf(s.t, s.other.of) // whose connections have ended, too
}

// TestBehindAnOlderSnapshot: a node that has restored a backup alone takes the older snapshot
// that the next leader goes on from, though it has newer ones, and follows behind it. What it
// has acknowledged there it has when it is started again.
func TestBehindAnOlderSnapshot(t *testing.T) {
	t.Parallel()
	onDiskAndInMemory(t, func(t *testing.T, adjust func(*Config)) {
		s := newSetBack(t, adjust)
		s.send()
		acknowledged := s.follow(s.end(), s.term, 3)
		s.follow(acknowledged, s.term, 1)
		if s.node.config.InMemory {
			return
		}
		s.restart()
		if got := s.node.Revision(); got != s.revision {
			t.Errorf("it begins at revision %d; want %d", got, s.revision)
		}
		s.follow(acknowledged, s.term, 2)
	})
}

// TestNextSnapshotBehindAnOlderOne: such a node takes a newer one, too, which still lies below
// what the node once had committed.
func TestNextSnapshotBehindAnOlderOne(t *testing.T) {
	t.Parallel()
	onDiskAndInMemory(t, func(t *testing.T, adjust func(*Config)) {
		s := newSetBack(t, adjust)
		s.send()
		s.snapshot.Index++
		if committed := s.node.consensus.raft.CommitIndex(); s.snapshot.Index > committed {
			t.Fatalf("it lies at %d, and %d was committed", s.snapshot.Index, committed)
		}
		s.send()
		s.follow(s.end(), s.term, 1)
	})
}

// TestBehindAnOlderSnapshotAnew is the same for a node that was started between.
func TestBehindAnOlderSnapshotAnew(t *testing.T) {
	t.Parallel()
	s := newSetBack(t, func(*Config) {})
	restored := s.node.Revision()
	s.restart()
	s.send()
	s.restart() // nothing has followed on it
	if got := s.node.Revision(); got != restored {
		t.Errorf("it begins at revision %d; want %d, which it restored", got, restored)
	}
	s.send()
	acknowledged := s.follow(s.end(), s.term, 3)
	s.restart()
	if got := s.node.Revision(); got != s.revision {
		t.Errorf("it begins at revision %d; want %d", got, s.revision)
	}
	s.follow(acknowledged, s.term, 2)
	if left, err := filepath.Glob(filepath.Join(s.node.dir.snapshots(), "*")); err != nil || len(left) > snapshotsKept {
		t.Errorf("it keeps %q, %v", left, err)
	}
}

// TestNoVoteForLessThanWasStored: a node that has restored a backup alone, and was sent an
// older snapshot and some of what follows, votes for nobody who lacks the rest, which it had
// stored for a majority before the restore. It does so too when it is started again; and it
// votes when it has all that the new leader began with.
func TestNoVoteForLessThanWasStored(t *testing.T) {
	t.Parallel()
	onDiskAndInMemory(t, func(t *testing.T, adjust func(*Config)) {
		s := newSetBack(t, adjust)
		less := raft.Log{Index: s.before.Index - 1, Term: s.before.Term}
		elections := s.term
		wantNone := func(when string) {
			t.Helper()
			elections++
			if s.other.votes(s.node, elections, less) {
				t.Errorf("%s it votes for a log without entry %d", when, s.before.Index)
			}
			s.term = elections + 1
			elections++
		}
		s.send()
		wantNone("with the snapshot")
		last := s.follow(s.end(), s.snapshot.Term, 1)
		wantNone("with one entry more")
		if !s.node.config.InMemory {
			s.restart()
			wantNone("started again")
			s.send()
			wantNone("sent the snapshot again")
			last = s.follow(s.end(), s.snapshot.Term, 1)
		}
		last = s.follow(last, s.snapshot.Term, int(s.before.Index-last.Index))
		s.follow(last, s.term, 1)
		if s.other.votes(s.node, s.term+1, less) {
			t.Errorf("it votes for a log that is older than its own")
		}
		if !s.other.votes(s.node, s.term+2, raft.Log{Index: last.Index + 1, Term: s.term}) {
			t.Error("it does not vote for a log like its own")
		}
	})
}

// TestCrashBeforeVoidIsGone starts a node that died when it had stored what makes up for a
// snapshot that is void, and not removed that yet: it begins with that one, and without what
// follows on another one.
func TestCrashBeforeVoidIsGone(t *testing.T) {
	t.Parallel()
	s := newSetBack(t, func(*Config) {})
	restored := s.node.Revision()
	void, _ := newestSnapshot(t, s.node)
	aside := filepath.Join(t.TempDir(), void.ID)
	path := filepath.Join(s.node.dir.snapshots(), void.ID)
	if err := os.CopyFS(aside, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	s.send()
	s.follow(s.end(), s.term, int(void.Index-s.end().Index)+10)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("it is still there: %v", err)
	}
	stop(t, s.node)
	if err := os.Rename(aside, path); err != nil {
		t.Fatal(err)
	}
	s.begin()
	if got := s.node.Revision(); got != restored {
		t.Errorf("it begins at revision %d; want %d", got, restored)
	}
	if last, err := s.node.consensus.logs.LastIndex(); err != nil || last > 0 {
		t.Errorf("the log ends at %d, %v; want none", last, err)
	}
	s.send()
	s.follow(s.end(), s.term, 1)
}

// TestNoLogBelowASnapshot: a node that has restored a backup alone, and was started again, takes
// no entries from the first one on: its state would not be theirs.
func TestNoLogBelowASnapshot(t *testing.T) {
	t.Parallel()
	s := newSetBack(t, func(*Config) {})
	b, above, membership := s.node.machine.Backup(), s.node.consensus.raft.LastIndex()+10, s.node.consensus.raft.GetConfiguration()
	cluster, _ := s.node.machine.Cluster()
	stop(t, s.node)
	storeSnapshot(t, s.node.config, b, cluster, above, s.term-1, membership) // of another restore, which a crash cut short
	s.begin()
	request := &raft.AppendEntriesRequest{RPCHeader: s.from.header(), Term: s.term, Entries: []*raft.Log{{Index: 1, Term: s.term, Type: raft.LogNoop}}}
	if s.from.send(s.node, request) {
		t.Error("it takes the first entry, and has the state of the backup")
	}
	s.send()
	s.follow(s.end(), s.term, 1)
}

// TestNextLeaderBehindASnapshot: the log of a node begins right behind a snapshot that it was
// sent. The next leader's entries take the place of all that is there; it needs no snapshot.
func TestNextLeaderBehindASnapshot(t *testing.T) {
	t.Parallel()
	onDiskAndInMemory(t, func(t *testing.T, adjust func(*Config)) {
		s := newSetBack(t, adjust)
		s.snapshot.Index, s.snapshot.Term = s.node.consensus.raft.LastIndex()+10, s.term
		s.send()
		s.follow(s.end(), s.term, 5)
		s.term++
		s.follow(s.end(), s.term, 1)
	})
}
