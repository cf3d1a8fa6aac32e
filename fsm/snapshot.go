package fsm

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"
)

// The format of a snapshot: a magic that ends in the version, and then records
// of these kinds, in this order. A record is a field of the protobuf wire
// format, so what follows the magic is one valid, if long, protobuf message.
//
//	1  header     message  once
//	2  entry      message  each key that exists, keys ascending
//	3  tombstone  message  each that is kept, sequence numbers ascending
//	4  request    message  each that is kept, revisions ascending
//	5  trailer    message  once
//	6  checksum   fixed32  once: CRC-32C of every byte before its value
//
// Fields of the messages:
//
//	header     1 revision varint      of the last command
//	           2 deletes varint       how many there were
//	           3 cluster id bytes     absent before Init
//	           4 max value varint     absent before Init
//	           5 time varint          of the cluster, nanoseconds; absent if 0
//	           6 floor varint         lowest revision since which changes are
//	                                  known; absent if it is the revision
//	entry      1 key bytes
//	           2 value bytes
//	           3 revision varint
//	           4 time sfixed64        nanoseconds since 1970; absent if unknown
//	           5 expires varint       time of the cluster; absent if it does not
//	tombstone  1 key bytes
//	           2 revision varint
//	           3 sequence varint      counts deletes, from 0
//	request    1 id bytes
//	           2 command fixed32      checksum of what it was to do
//	           3 time varint          of the cluster, when it was applied
//	           4 revision varint
//	           5 previous varint      revision; absent if 0
//	           6 key bytes            that was not found, or in conflict
//	           7 conflict varint      revision of that key; absent if not found
//	trailer    1 entries varint       how many
//	           2 tombstones varint    how many
//	           3 requests varint      how many
//
// Equal states give equal bytes: all is in a fixed order and in canonical form.
//
// Snapshots of programs that knew no floor have none, and so are rightly taken to
// tell nothing of the time before them.
const snapshotMagic = "WCASTFSM\x01"

const (
	recordHeader    protowire.Number = 1
	recordEntry     protowire.Number = 2
	recordTombstone protowire.Number = 3
	recordRequest   protowire.Number = 4
	recordTrailer   protowire.Number = 5
	recordChecksum  protowire.Number = 6

	headerRevision  protowire.Number = 1
	headerDeletes   protowire.Number = 2
	headerClusterID protowire.Number = 3
	headerMaxValue  protowire.Number = 4
	headerTime      protowire.Number = 5
	headerFloor     protowire.Number = 6

	entryKey      protowire.Number = 1
	entryValue    protowire.Number = 2
	entryRevision protowire.Number = 3
	entryTime     protowire.Number = 4
	entryExpires  protowire.Number = 5

	tombstoneKey      protowire.Number = 1
	tombstoneRevision protowire.Number = 2
	tombstoneSequence protowire.Number = 3

	trailerEntries    protowire.Number = 1
	trailerTombstones protowire.Number = 2
	trailerRequests   protowire.Number = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshotBuffer is how much is read or written at a time, in bytes.
const snapshotBuffer = 64 << 10

// snapshot is the state at one revision. What it shares with the store, the
// store does not change.
type snapshot struct {
	revision   uint64
	time       time.Duration
	cluster    Cluster
	entries    ordered
	tombstones tombstoneRing
	requests   []*request
	floor      uint64
}

// Persist writes the snapshot to the sink and closes it, or cancels it on an
// error. Its memory is bounded by the longest entry. It may run beside
// everything else.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	err := s.write(sink)
	if err == nil {
		err = sink.Close()
	}
	if err != nil {
		return fmt.Errorf("fsm: write snapshot: %w", errors.Join(err, sink.Cancel()))
	}
	return nil
}

// Release does nothing: the collector knows when the last shared node is free.
func (s *snapshot) Release() {}

func (s *snapshot) write(out io.Writer) error {
	w := newSnapshotWriter(out)
	w.magic()
	w.record(recordHeader, s.appendHeader)
	for e := range s.entries.all {
		w.record(recordEntry, e.appendRecord)
		if w.err != nil {
			return w.err
		}
	}
	kept := uint64(0)
	for t := range s.tombstones.all() {
		w.record(recordTombstone, t.appendRecord)
		kept++
	}
	for _, q := range s.requests {
		w.record(recordRequest, q.appendRecord)
	}
	w.record(recordTrailer, func(dst []byte) []byte {
		dst = appendUint(dst, trailerEntries, uint64(s.entries.len()))
		dst = appendUint(dst, trailerTombstones, kept)
		return appendUint(dst, trailerRequests, uint64(len(s.requests)))
	})
	return w.finish()
}

func (s *snapshot) appendHeader(dst []byte) []byte {
	dst = appendUint(dst, headerRevision, s.revision)
	dst = appendUint(dst, headerDeletes, s.tombstones.deletes)
	if s.cluster.ID != "" {
		dst = appendBytes(dst, headerClusterID, s.cluster.ID)
		dst = appendUint(dst, headerMaxValue, uint64(s.cluster.MaxValueBytes))
		dst = appendUnless0(dst, headerTime, uint64(s.time))
	}
	if s.floor == s.revision {
		return dst
	}
	return appendUint(dst, headerFloor, s.floor)
}

func (e *Entry) appendRecord(dst []byte) []byte {
	dst = appendBytes(dst, entryKey, e.Key)
	dst = appendBytes(dst, entryValue, e.Value)
	dst = appendUint(dst, entryRevision, e.Revision)
	if !e.Time.IsZero() {
		dst = appendFixed(dst, entryTime, uint64(e.Time.UnixNano()))
	}
	return appendUnless0(dst, entryExpires, uint64(e.Expires))
}

func (t *tombstone) appendRecord(dst []byte) []byte {
	dst = appendBytes(dst, tombstoneKey, t.key)
	dst = appendUint(dst, tombstoneRevision, t.revision)
	return appendUint(dst, tombstoneSequence, t.sequence)
}

// snapshotWriter writes records and keeps the first error.
type snapshotWriter struct {
	out  *bufio.Writer
	sum  uint32
	head []byte
	body []byte
	err  error
}

func newSnapshotWriter(out io.Writer) *snapshotWriter {
	return &snapshotWriter{out: bufio.NewWriterSize(out, snapshotBuffer)}
}

func (w *snapshotWriter) magic() { w.write([]byte(snapshotMagic)) }

// record writes one record, whose body is what fill appends.
func (w *snapshotWriter) record(kind protowire.Number, fill func([]byte) []byte) {
	w.body = fill(w.body[:0])
	w.head = protowire.AppendTag(w.head[:0], kind, protowire.BytesType)
	w.head = protowire.AppendVarint(w.head, uint64(len(w.body)))
	w.write(w.head)
	w.write(w.body)
}

// finish writes the checksum and all that is buffered.
func (w *snapshotWriter) finish() error {
	w.write(protowire.AppendTag(w.head[:0], recordChecksum, protowire.Fixed32Type))
	w.write(protowire.AppendFixed32(nil, w.sum))
	if w.err != nil {
		return w.err
	}
	return w.out.Flush()
}

func (w *snapshotWriter) write(b []byte) {
	if w.err != nil {
		return
	}
	w.sum = crc32.Update(w.sum, castagnoli, b)
	_, w.err = w.out.Write(b)
}
