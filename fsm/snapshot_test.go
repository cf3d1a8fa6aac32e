package fsm

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// smallMachine has some of everything that a snapshot can hold.
func smallMachine(t tester) *machine {
	m := newMachine(t, 4)
	m.init()
	m.do(put("gone", "1"))
	m.do(put("a", "first"))
	m.do(del("gone"))
	m.do(put("b", ""))
	m.do(put("c", "third"))
	m.do(del("c"))
	m.do(put("c", "again"))
	m.Apply(&raft.Log{Index: 9, Data: put("d", "no time").Append(nil)})
	m.last = 9
	m.do(put("last", "1"))
	m.do(del("last"))
	m.do(del("nothing"))
	m.do(put("e", "").ttl(300).id("r1").when(1))       // 13
	m.do(put("e", "2").ttl(5).id("r2").when(2))        // 14
	m.do(del("nothing").id("r3").when(2))              // 15
	m.do(batchOf(put("b", "").at(1)).id("r4").when(2)) // 16
	m.do(put("f", "").at(7).id("r5").when(4))          // 17
	return m
}

// TestSnapshotFormat pins the format: a program must go on reading what the one
// before it wrote.
func TestSnapshotFormat(t *testing.T) {
	want := strings.Join([]string{
		"5743415354" + "46534d" + "01",                                              // magic, version 1
		"0a10" + "0811" + "1003" + "1a0474657374" + "2010" + "2804" + "3000",        // header: 17, 3 deletes, "test", 16, at 4, floor 0
		"1215" + "0a0161" + "12056669727374" + "1803" + "2103002a36fe9c9717",        // a
		"1210" + "0a0162" + "1200" + "1805" + "2105002a36fe9c9717",                  // b
		"1215" + "0a0163" + "1205616761696e" + "1808" + "2108002a36fe9c9717",        // c
		"120e" + "0a0164" + "12076e6f2074696d65" + "1809",                           // d
		"1213" + "0a0165" + "120132" + "180e" + "210e002a36fe9c9717" + "2807",       // e, expires at 7
		"1a0a" + "0a04676f6e65" + "1004" + "1800",                                   // gone
		"1a0a" + "0a046c617374" + "100b" + "1802",                                   // last
		"220f" + "0a027232" + "1511850bda" + "1802" + "200e" + "280d",               // r2, after 13
		"2216" + "0a027233" + "15d06791d0" + "1802" + "200f" + "32076e6f7468696e67", // r3: nothing is not there
		"2212" + "0a027234" + "152b5b7715" + "1802" + "2010" + "320162" + "3805",    // r4: b is at 5
		"2212" + "0a027235" + "154d8c87d6" + "1804" + "2011" + "320166" + "3800",    // r5: f is not there
		"2a06" + "0805" + "1002" + "1804",                                           // trailer: 5, 2 and 4
		"35" + "4f80c7f0",                                                           // checksum
	}, "")
	if got := hex.EncodeToString(snapshotOf(t, smallMachine(t).FSM)); got != want {
		t.Errorf("snapshot is\n%s, want\n%s", got, want)
	}
}

func TestSnapshotThroughRaftsFileStore(t *testing.T) {
	files, err := raft.NewFileSnapshotStoreWithLogger(t.TempDir(), 1, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, keptTombstones)
	m.do(Command{Op: CommandInit, Cluster: Cluster{ID: "test", MaxValueBytes: 1 << 20}})
	for i := range 3000 {
		m.do(put(fmt.Sprint(i), strings.Repeat("v", i)))
	}
	m.do(put("larger than any buffer", strings.Repeat("v", 1<<20)))
	for i := range 1000 {
		m.do(del(fmt.Sprint(i * 2)))
	}
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	sink, err := files.Create(raft.SnapshotVersionMax, m.last, 1, raft.Configuration{}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Persist(sink); err != nil {
		t.Fatal(err)
	}
	_, in, err := files.Open(sink.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	other := newMachine(t, keptTombstones)
	if err := other.Restore(in); err != nil {
		t.Fatal(err)
	}
	if other.Len() != 2001 || other.Revision() != m.Revision() {
		t.Errorf("%d keys at revision %d, want 2001 at %d", other.Len(), other.Revision(), m.Revision())
	}
	if !bytes.Equal(snapshotOf(t, m.FSM), snapshotOf(t, other.FSM)) {
		t.Error("the restored state is another")
	}
}

// failingSink fails from a number of bytes on, or when it is closed.
type failingSink struct {
	bufferSink
	room      int
	failClose bool
}

var errDisk = errors.New("disk full")

func (s *failingSink) Write(b []byte) (int, error) {
	if s.Len()+len(b) > s.room {
		return 0, errDisk
	}
	return s.bufferSink.Write(b)
}

func (s *failingSink) Close() error {
	if s.failClose {
		return errDisk
	}
	return s.bufferSink.Close()
}

func TestPersistCancelsOnAnError(t *testing.T) {
	m := newMachine(t, 8)
	m.do(Command{Op: CommandInit, Cluster: Cluster{ID: "test", MaxValueBytes: 1 << 20}})
	for i := range 4 {
		m.do(put(fmt.Sprint(i), strings.Repeat("v", snapshotBuffer)))
	}
	size := len(snapshotOf(t, m.FSM))
	for _, room := range []int{0, 1, snapshotBuffer, size / 2, size - 1, size} {
		s, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		sink := &failingSink{room: room, failClose: room == size}
		if err := s.Persist(sink); !errors.Is(err, errDisk) {
			t.Errorf("room for %d of %d bytes: %v", room, size, err)
		}
		if sink.cancelled != 1 || sink.closed != 0 {
			t.Errorf("room for %d of %d bytes: cancelled %d times, closed %d times", room, size, sink.cancelled, sink.closed)
		}
	}
}

// TestSnapshotWhileAppliesGoOn takes snapshots at several revisions and writes
// them while the store changes under them. Each must hold the state of its own
// revision: that of a replica that stopped there.
func TestSnapshotWhileAppliesGoOn(t *testing.T) {
	const rounds, size = 40, 50
	m, reference := newMachine(t, 16), newMachine(t, 16)
	m.init()
	reference.init()
	var writers sync.WaitGroup
	for round := range rounds {
		s, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		want := snapshotOf(t, reference.FSM)
		writers.Go(func() {
			var sink bufferSink
			if err := s.Persist(&sink); err != nil {
				t.Errorf("round %d: %v", round, err)
			} else if !bytes.Equal(sink.Bytes(), want) {
				t.Errorf("round %d: the snapshot is not the state of its revision", round)
			}
			s.Release()
		})
		var logs []*raft.Log
		for i := range size {
			m.last++
			c := put(fmt.Sprint(m.last*7919%977), fmt.Sprint(m.last))
			if i%3 == 0 {
				c = del(fmt.Sprint(m.last * 31 % 977))
			}
			logs = append(logs, logOf(m.last, c))
		}
		m.ApplyBatch(logs)
		reference.ApplyBatch(logs)
	}
	writers.Wait()
}
