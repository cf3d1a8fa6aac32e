package fsm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/watchcast/watchcast/fanout"
)

// readSnapshot reads and checks a whole snapshot. The error wraps
// [ErrCorruptSnapshot], or is that of in. Memory grows with what was read,
// never with what a length only claims.
func readSnapshot(in io.Reader, keep limits) (*store, error) {
	return newSnapshotReader(in, keep).whole()
}

func newSnapshotReader(in io.Reader, keep limits) *snapshotReader {
	return &snapshotReader{in: bufio.NewReaderSize(in, snapshotBuffer), store: newStore(keep)}
}

// whole is readSnapshot.
func (r *snapshotReader) whole() (*store, error) {
	switch err := r.read(); {
	case err == nil:
		return r.store, nil
	case r.failed != nil:
		return nil, fmt.Errorf("fsm: read snapshot at byte %d: %w", r.offset, r.failed)
	default:
		return nil, fmt.Errorf("%w: at byte %d: %v", ErrCorruptSnapshot, r.offset, err)
	}
}

// snapshotReader fills a new store from a snapshot.
type snapshotReader struct {
	in     *bufio.Reader
	taken  int64  // bytes so far
	sum    uint32 // of these
	offset int64  // of the current record
	failed error  // of in, other than its end
	body   []byte // of the current record

	keysOnly bool // values are checked, and not kept

	store     *store
	kind      protowire.Number // of the last record
	lastKey   string           // of the last entry
	lastTomb  tombstone        // the last tombstone
	tombCount uint64
	lastReq   *request // the last request
}

// recordOverhead bounds what a record has beside keys, values and ids.
const recordOverhead = 64

func (r *snapshotReader) read() error {
	if err := r.magic(); err != nil {
		return err
	}
	for r.kind != recordTrailer {
		if err := r.record(); err != nil {
			return err
		}
		var err error
		switch f := readFields(r.body); r.kind {
		case recordHeader:
			err = r.header(f)
		case recordEntry:
			err = r.entry(f)
		case recordTombstone:
			err = r.tombstone(f)
		case recordRequest:
			err = r.request(f)
		case recordTrailer:
			err = r.trailer(f)
		}
		if err != nil {
			return fmt.Errorf("record of kind %d: %w", r.kind, err)
		}
	}
	return r.checksum()
}

func (r *snapshotReader) magic() error {
	b, err := r.take(len(snapshotMagic))
	if err != nil {
		return err
	}
	const name = len(snapshotMagic) - 1
	switch {
	case string(b[:name]) != snapshotMagic[:name]:
		return errors.New("this is no snapshot of a watchcast store")
	case string(b) != snapshotMagic:
		return fmt.Errorf("its format is version %d; this program knows %d", b[name], snapshotMagic[name])
	}
	return nil
}

// record takes the next record that is a message into kind and body.
func (r *snapshotReader) record() error {
	r.offset = r.taken
	head, err := r.in.Peek(2 * binary.MaxVarintLen64)
	if err != nil && err != io.EOF {
		r.failed = err
		return err
	}
	kind, typ, n := protowire.ConsumeTag(head)
	if n < 0 {
		return r.headError(n, err)
	}
	size, m := protowire.ConsumeVarint(head[n:])
	if m < 0 {
		return r.headError(m, err)
	}
	switch {
	case typ != protowire.BytesType || n != protowire.SizeTag(kind) || m != protowire.SizeVarint(size):
		return errors.New("no record begins here")
	case r.kind == 0 && kind != recordHeader, r.kind > 0 && kind < max(r.kind, recordEntry), kind > recordTrailer:
		return fmt.Errorf("a record of kind %d cannot follow one of kind %d", kind, r.kind)
	}
	if limit := r.limit(kind); size > limit {
		return fmt.Errorf("a record of kind %d claims %d bytes; the limit is %d", kind, size, limit)
	}
	if _, err := r.take(n + m); err != nil {
		return err
	}
	r.kind = kind
	_, err = r.take(int(size))
	return err
}

// headError is why the head of a record could not be read: n says why, in the
// terms of protowire, and end is io.EOF if there was no more to look at.
func (r *snapshotReader) headError(n int, end error) error {
	err := protowire.ParseError(n)
	if err == io.ErrUnexpectedEOF && end == io.EOF {
		return errCutShort
	}
	return err
}

// limit is the longest body of a record.
func (r *snapshotReader) limit(kind protowire.Number) uint64 {
	switch kind {
	case recordHeader:
		return recordOverhead + MaxClusterIDBytes
	case recordEntry:
		return recordOverhead + fanout.MaxKeyBytes + uint64(r.store.cluster.MaxValueBytes)
	case recordTombstone:
		return recordOverhead + fanout.MaxKeyBytes
	case recordRequest:
		return recordOverhead + MaxRequestIDBytes + fanout.MaxKeyBytes
	}
	return recordOverhead
}

var (
	errCutShort  = errors.New("it is cut short")
	errNoCluster = errors.New("a cluster that is not initialized has no keys")
)

// take returns the next n bytes, which are good until the next call. Its buffer
// grows as they arrive.
func (r *snapshotReader) take(n int) ([]byte, error) {
	r.body = r.body[:0]
	for len(r.body) < n {
		step := min(n-len(r.body), snapshotBuffer)
		r.body = slices.Grow(r.body, step)
		part := r.body[len(r.body) : len(r.body)+step]
		if _, err := io.ReadFull(r.in, part); err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, errCutShort
		} else if err != nil {
			r.failed = err
			return nil, err
		}
		r.body = r.body[:len(r.body)+step]
	}
	r.taken += int64(n)
	r.sum = crc32.Update(r.sum, castagnoli, r.body)
	return r.body, nil
}

func (r *snapshotReader) header(f *fields) error {
	var (
		id    []byte
		limit uint64
		s     = r.store
	)
	for f.next() {
		switch f.num {
		case headerRevision:
			s.revision = f.uint()
		case headerDeletes:
			s.tombstones.deletes = f.uint()
		case headerClusterID:
			id = f.bytes()
		case headerMaxValue:
			limit = f.uint()
		case headerTime:
			s.time = time.Duration(f.notZero())
		case headerFloor:
			s.floor = f.uint()
		default:
			f.unknown()
		}
	}
	required, cluster := setOf(headerRevision, headerDeletes), setOf(headerClusterID, headerMaxValue)
	optional := setOf(headerFloor)
	if f.seen&cluster != 0 {
		required |= cluster
		optional |= setOf(headerTime)
	}
	err := f.finish(required, optional)
	switch {
	case err != nil:
		return err
	case !f.seen.has(headerFloor):
		s.floor = s.revision
	case s.floor >= s.revision:
		return fmt.Errorf("its floor is %d, not below its revision, %d", s.floor, s.revision)
	}
	switch {
	case s.time < 0 || s.time > maxTime:
		return fmt.Errorf("its time is %d ns; the highest is %d", uint64(s.time), maxTime)
	case f.seen&cluster != 0:
		s.cluster, err = newCluster(id, limit)
		return err
	case s.tombstones.deletes > 0:
		return errNoCluster
	}
	return nil
}

func (r *snapshotReader) entry(f *fields) error {
	var (
		e   Entry
		key []byte
		val []byte
	)
	for f.next() {
		switch f.num {
		case entryKey:
			key = f.bytes()
		case entryValue:
			val = f.bytes()
		case entryRevision:
			e.Revision = f.uint()
		case entryTime:
			e.Time = time.Unix(0, int64(f.fixed())).UTC()
		case entryExpires:
			e.Expires = time.Duration(f.notZero())
		default:
			f.unknown()
		}
	}
	if err := f.finish(setOf(entryKey, entryValue, entryRevision), setOf(entryTime, entryExpires)); err != nil {
		return err
	}
	e.Key = string(key)
	if err := r.checkChange(e.Key, e.Revision); err != nil {
		return err
	}
	switch limit := r.store.cluster.MaxValueBytes; {
	case len(val) > limit:
		return fmt.Errorf("a value has %d bytes; the limit is %d", len(val), limit)
	case e.Key <= r.lastKey:
		return fmt.Errorf("key %q follows %q", e.Key, r.lastKey)
	case e.Expires < 0 || e.Expires > r.store.time+MaxTTL:
		return fmt.Errorf("key %q expires at %d ns; it is %d now", e.Key, uint64(e.Expires), r.store.time)
	}
	if !r.keysOnly {
		e.Value = make([]byte, len(val))
		copy(e.Value, val)
	}
	r.lastKey = e.Key
	r.store.entries.load(e)
	r.store.deadlines.move(e.Key, 0, e.Expires)
	return nil
}

func (r *snapshotReader) tombstone(f *fields) error {
	var t tombstone
	for f.next() {
		switch f.num {
		case tombstoneKey:
			t.key = string(f.bytes())
		case tombstoneRevision:
			t.revision = f.uint()
		case tombstoneSequence:
			t.sequence = f.uint()
		default:
			f.unknown()
		}
	}
	if err := f.finish(setOf(tombstoneKey, tombstoneRevision, tombstoneSequence), 0); err != nil {
		return err
	}
	if err := r.checkChange(t.key, t.revision); err != nil {
		return err
	}
	all := &r.store.tombstones
	alive := r.store.entries.get(t.key) != nil
	_, twice := all.byKey[t.key]
	switch {
	case alive || twice:
		return fmt.Errorf("key %q is there twice", t.key)
	case t.sequence < all.oldest() || t.sequence >= all.deletes:
		return fmt.Errorf("delete %d is not among the last of %d", t.sequence, all.deletes)
	case r.tombCount > 0 && (t.sequence <= r.lastTomb.sequence || t.revision < r.lastTomb.revision):
		return fmt.Errorf("delete %d at revision %d follows delete %d at revision %d",
			t.sequence, t.revision, r.lastTomb.sequence, r.lastTomb.revision)
	}
	all.put(&t)
	r.lastTomb = t
	r.tombCount++
	return nil
}

// checkChange checks what entries and tombstones have in common.
func (r *snapshotReader) checkChange(key string, revision uint64) error {
	switch {
	case !r.store.initialized():
		return errNoCluster
	case revision == 0 || revision > r.store.revision:
		return fmt.Errorf("key %q changed at revision %d; the snapshot stands at %d", key, revision, r.store.revision)
	}
	return fanout.CheckKey(key)
}

func (r *snapshotReader) trailer(f *fields) error {
	var entries, tombstones, requests uint64
	for f.next() {
		switch f.num {
		case trailerEntries:
			entries = f.uint()
		case trailerTombstones:
			tombstones = f.uint()
		case trailerRequests:
			requests = f.uint()
		default:
			f.unknown()
		}
	}
	if err := f.finish(setOf(trailerEntries, trailerTombstones, trailerRequests), 0); err != nil {
		return err
	}
	haveEntries, haveRequests := uint64(r.store.entries.len()), uint64(len(r.store.requests.list))
	if entries != haveEntries || tombstones != r.tombCount || requests != haveRequests {
		return fmt.Errorf("it counts %d keys, %d tombstones and %d requests; there are %d, %d and %d",
			entries, tombstones, requests, haveEntries, r.tombCount, haveRequests)
	}
	return nil
}

// checksum takes the last record, after which there must be nothing.
func (r *snapshotReader) checksum() error {
	r.offset = r.taken
	tag := protowire.AppendTag(nil, recordChecksum, protowire.Fixed32Type)
	b, err := r.take(len(tag))
	if err != nil {
		return err
	}
	if string(b) != string(tag) {
		return errors.New("the checksum is missing")
	}
	want := r.sum
	if b, err = r.take(protowire.SizeFixed32()); err != nil {
		return err
	}
	if have, _ := protowire.ConsumeFixed32(b); have != want {
		return fmt.Errorf("its checksum is %08x; its bytes make %08x", have, want)
	}
	switch _, err := r.in.ReadByte(); err {
	case io.EOF:
		return nil
	case nil:
		return errors.New("something follows the checksum")
	default:
		r.failed = err
		return err
	}
}
