package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

func backupOf(t tester, b *Backup) []byte {
	t.Helper()
	var out bytes.Buffer
	n, err := b.WriteTo(&out)
	if err != nil || n != int64(out.Len()) {
		t.Fatalf("wrote %d of %d bytes: %v", n, out.Len(), err)
	}
	return out.Bytes()
}

// TestBackupRoundTrip: a backup is the snapshot of its revision, whatever is applied
// after it was captured, and what was read is written the same way again.
func TestBackupRoundTrip(t *testing.T) {
	m := smallMachine(t)
	want := snapshotOf(t, m.FSM)
	info := BackupInfo{Cluster: testCluster, Revision: m.Revision(), Keys: m.Len()}
	b := m.Backup()
	m.do(put("a", "later"))
	m.do(del("b"))
	m.do(put("later", ""))
	got := backupOf(t, b)
	if !bytes.Equal(got, want) {
		t.Fatalf("the backup is\n%x, want the snapshot\n%x", got, want)
	}
	if b.Info() != info {
		t.Errorf("it is of %+v, want %+v", b.Info(), info)
	}
	again, err := ReadBackup(bytes.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	if again.Info() != info || !bytes.Equal(backupOf(t, again), want) {
		t.Errorf("read, it is of %+v, and written again it is another", again.Info())
	}
	if checked, err := CheckBackup(bytes.NewReader(got)); err != nil || checked != info {
		t.Errorf("checked, it is of %+v, %v", checked, err)
	}
}

// refusesBackup checks that both readers refuse b, with the same line.
func refusesBackup(t *testing.T, what string, b []byte) {
	t.Helper()
	_, err := ReadBackup(bytes.NewReader(b))
	_, checked := CheckBackup(bytes.NewReader(b))
	if !errors.Is(err, ErrCorruptSnapshot) || checked == nil || checked.Error() != err.Error() || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: read %v, checked %v; want one line twice that wraps %v", what, err, checked, ErrCorruptSnapshot)
	}
}

// TestBackupRefusesDamage: every bit, every length, another format, and a file that
// is none.
func TestBackupRefusesDamage(t *testing.T) {
	whole := backupOf(t, smallMachine(t).Backup())
	for n := range whole {
		refusesBackup(t, fmt.Sprintf("cut to %d bytes", n), whole[:n])
	}
	for i := range len(whole) * 8 {
		flipped := slices.Clone(whole)
		flipped[i/8] ^= 1 << (i % 8)
		refusesBackup(t, fmt.Sprintf("bit %d flipped", i), flipped)
	}
	later := slices.Clone(whole)
	later[len(snapshotMagic)-1] = 99
	refusesBackup(t, "version 99", later)
	if _, err := CheckBackup(bytes.NewReader(later)); !strings.Contains(err.Error(), "version 99") {
		t.Errorf("of version 99: %v", err)
	}
	foreign := []byte("SQLite format 3\x00 and so on")
	refusesBackup(t, "another program's", foreign)
	if _, err := CheckBackup(bytes.NewReader(foreign)); !strings.Contains(err.Error(), "no snapshot of a watchcast store") {
		t.Errorf("of another program: %v", err)
	}
	refusesBackup(t, "two in one file", append(slices.Clone(whole), whole...))
}

// TestBackupLeavesTime: of a backup whose time is near its end no cluster can go on.
func TestBackupLeavesTime(t *testing.T) {
	for when, refused := range map[time.Duration]bool{maxTime / 2: false, maxTime/2 + 1: true, maxTime: true} {
		m := newMachine(t, 8)
		m.init()
		m.store.time = when
		var data bytes.Buffer
		if _, err := m.Backup().WriteTo(&data); err != nil {
			t.Fatal(err)
		}
		_, read := ReadBackup(bytes.NewReader(data.Bytes()))
		_, checked := CheckBackup(bytes.NewReader(data.Bytes()))
		if errors.Is(read, ErrCorruptSnapshot) != refused || errors.Is(checked, ErrCorruptSnapshot) != refused {
			t.Errorf("at %d ns: read %v, checked %v", when, read, checked)
		}
	}
}

// TestBackupMovesTo another cluster: what is in it stays, and the state machines of
// that cluster take it.
func TestBackupMovesTo(t *testing.T) {
	b, err := ReadBackup(bytes.NewReader(backupOf(t, smallMachine(t).Backup())))
	if err != nil {
		t.Fatal(err)
	}
	before := b.Info()
	longest := 0
	for e := range b.state.entries.all {
		longest = max(longest, len(e.Value))
	}
	own := Cluster{ID: "another", MaxValueBytes: longest - 1}
	switch err := b.MoveTo(own, 100); {
	case !errors.Is(err, ErrValueTooLarge) || !strings.Contains(err.Error(), `key "d"`):
		t.Errorf("into a cluster of shorter values: %v", err)
	case b.Info() != before:
		t.Errorf("a refused move made %+v of %+v", b.Info(), before)
	}
	if err := b.MoveTo(Cluster{ID: "another", MaxValueBytes: longest}, before.Revision-1); err == nil || b.Info() != before {
		t.Errorf("back in time: %v, %+v", err, b.Info())
	}
	own.MaxValueBytes = longest
	if err := b.MoveTo(own, 100); err != nil {
		t.Fatal(err)
	}

	source, m := smallMachine(t), newMachine(t, keptTombstones)
	m.init()
	m.do(put("before", ""))
	if err := restore(m.FSM, backupOf(t, b)); err != nil {
		t.Fatal(err)
	}
	if cluster, _ := m.Cluster(); cluster != own || m.Revision() != 100 || m.Len() != source.Len() {
		t.Errorf("restored is %+v at %d with %d keys", cluster, m.Revision(), m.Len())
	}
	for e := range source.store.entries.copy().all {
		if got, err := m.Get(e.Key); err != nil || string(got.Value) != string(e.Value) || got.Revision != e.Revision || !got.Time.Equal(e.Time) {
			t.Errorf("%s is %+v, %v; want %+v", e.Key, got, err, e)
		}
	}
	m.last = 101
	if r := m.do(put("gone", "")); r.Err != nil || r.PrevRevision != 4 {
		t.Errorf("a deleted key is put again: %+v; want the revision of its delete, 4", r)
	}
}

// TestBackupOfNothing is that of a replica that no leader has reached yet.
func TestBackupOfNothing(t *testing.T) {
	b := New(Options{}).Backup()
	if b.Info() != (BackupInfo{}) {
		t.Errorf("it is of %+v", b.Info())
	}
	if _, err := ReadBackup(bytes.NewReader(backupOf(t, b))); err != nil {
		t.Error(err)
	}
}

// TestBackupMemory: to write a backup takes memory for an entry, not for the state;
// to check one, for the keys.
func TestBackupMemory(t *testing.T) {
	const keys, size = 200, 100_000
	m := newMachine(t, 4)
	m.do(Command{Op: CommandInit, Cluster: Cluster{ID: "test", MaxValueBytes: size}})
	for i := range keys {
		m.do(put(fmt.Sprint(i), strings.Repeat("v", size)))
	}
	b := m.Backup()
	whole := bytes.NewReader(backupOf(t, b))
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	const most = 2_000_000 // of 20,000,000
	if got := allocated(func() { b.WriteTo(io.Discard) }); got > most {
		t.Errorf("writing %d bytes allocated %d", whole.Len(), got)
	}
	if got := allocated(func() { CheckBackup(whole) }); got > most {
		t.Errorf("checking %d bytes allocated %d", whole.Size(), got)
	}
}

func TestBackupWriteFails(t *testing.T) {
	m := smallMachine(t)
	if _, err := m.Backup().WriteTo(&failingSink{room: 10}); !errors.Is(err, errDisk) {
		t.Errorf("error is %v", err)
	}
}

// FuzzCheckBackup: what is checked and what is read agree on every file.
func FuzzCheckBackup(f *testing.F) {
	for _, m := range []*machine{newMachine(f, 4), smallMachine(f)} {
		b := backupOf(f, m.Backup())
		f.Add(b, false)
		f.Add(b[:len(b)-4], true)
	}
	f.Fuzz(func(t *testing.T, in []byte, mend bool) {
		if mend {
			in = protowire.AppendFixed32(slices.Clip(in), crc32.Checksum(in, castagnoli))
		}
		info, checked := CheckBackup(bytes.NewReader(in))
		b, err := ReadBackup(bytes.NewReader(in))
		switch {
		case err == nil && checked == nil:
			if b.Info() != info {
				t.Fatalf("read %+v, checked %+v", b.Info(), info)
			}
		case err == nil || checked == nil || err.Error() != checked.Error():
			t.Fatalf("read %v, checked %v", err, checked)
		}
	})
}
