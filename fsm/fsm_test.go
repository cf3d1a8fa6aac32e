package fsm

import (
	"bytes"
	"io"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
)

// What the tests of this package share.

const testTerm = 3

var testCluster = Cluster{ID: "test", MaxValueBytes: 16}

// tester is what [testing.TB] and rapid's T have in common, as far as needed.
type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// machine is an FSM with its ring and the index of its log.
type machine struct {
	*FSM
	ring *fanout.Ring
	last uint64
}

func newMachine(t tester, keep int) *machine {
	t.Helper()
	return newLoggingMachine(t, keep, nil)
}

func newLoggingMachine(t tester, keep int, logger *slog.Logger) *machine {
	t.Helper()
	ring, err := fanout.NewRing(fanout.RingOptions{Slots: 1024})
	if err != nil {
		t.Fatal(err)
	}
	return &machine{FSM: newFSM(Options{Ring: ring, Logger: logger}, limits{keep, keep}), ring: ring}
}

// do applies a command at the next index.
func (m *machine) do(c Command) Result {
	m.last++
	return m.Apply(logOf(m.last, c)).(Result)
}

func (m *machine) init() Result { return m.do(Command{Op: CommandInit, Cluster: testCluster}) }

// events returns all that the ring holds.
func (m *machine) events() []*fanout.Event {
	c := m.ring.Cursor(0)
	defer c.Close()
	return c.Poll(make([]*fanout.Event, 0, 2048))
}

// timeAt is when the entry at index was appended.
func timeAt(index uint64) time.Time {
	return time.Unix(1_700_000_000, int64(index)).UTC()
}

func logOf(index uint64, c Command) *raft.Log {
	return logOfData(index, c.Append(nil))
}

func logOfData(index uint64, data []byte) *raft.Log {
	return &raft.Log{Index: index, Term: testTerm, Type: raft.LogCommand, Data: data, AppendedAt: timeAt(index)}
}

func put(key, value string) Command {
	return Command{Op: CommandPut, Key: key, Value: []byte(value)}
}

func batchOf(commands ...Command) Command { return Command{Op: CommandBatch, Batch: commands} }

func (c Command) encoded() []byte { return appendBatch(c.Batch) }

func del(key string) Command { return Command{Op: CommandDelete, Key: key} }

func (c Command) at(revision uint64) Command {
	c.IfRevision = &revision
	return c
}

func expire() Command { return Command{Op: CommandExpire} }

// when stamps a command.
func (c Command) when(time time.Duration) Command {
	c.Stamp = Stamp{testTerm, time}
	return c
}

// ttl gives a put a time to live; it needs a stamp.
func (c Command) ttl(ttl time.Duration) Command {
	c.TTL = ttl
	return c
}

// id gives a command a request id; it needs a stamp.
func (c Command) id(id string) Command {
	c.RequestID = id
	return c
}

// bufferSink is a raft.SnapshotSink in memory.
type bufferSink struct {
	bytes.Buffer
	closed, cancelled int
}

func (s *bufferSink) ID() string    { return "buffer" }
func (s *bufferSink) Close() error  { s.closed++; return nil }
func (s *bufferSink) Cancel() error { s.cancelled++; return nil }

func snapshotOf(t tester, f *FSM) []byte {
	t.Helper()
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return persisted(t, s)
}

func persisted(t tester, s raft.FSMSnapshot) []byte {
	t.Helper()
	defer s.Release()
	var sink bufferSink
	if err := s.Persist(&sink); err != nil {
		t.Fatal(err)
	}
	if sink.closed != 1 || sink.cancelled != 0 {
		t.Fatalf("sink was closed %d times and cancelled %d times", sink.closed, sink.cancelled)
	}
	return sink.Bytes()
}

func restore(f *FSM, snapshot []byte) error {
	return f.Restore(io.NopCloser(bytes.NewReader(snapshot)))
}
