package fsm

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/watchcast/watchcast/fanout"
)

// forged is a snapshot that is sound but for what fill writes.
func forged(fill func(*snapshotWriter)) []byte {
	var out bytes.Buffer
	w := newSnapshotWriter(&out)
	w.magic()
	fill(w)
	if err := w.finish(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// TestRestoreBelievesNoChecksum restores snapshots whose checksum is right and
// whose content is not.
func TestRestoreBelievesNoChecksum(t *testing.T) {
	type writer = *snapshotWriter
	const now = RequestLifetime + 10
	fields := func(w writer, kind protowire.Number, parts ...[]byte) {
		w.record(kind, func(dst []byte) []byte { return append(dst, slices.Concat(parts...)...) })
	}
	number := func(n protowire.Number, v uint64) []byte { return appendUint(nil, n, v) }
	header := func(w writer) { // at revision 9 after 6 deletes, of which 4 are kept
		w.record(recordHeader, (&snapshot{revision: 9, time: now, cluster: testCluster, tombstones: tombstoneRing{deletes: 6}}).appendHeader)
	}
	entry := func(w writer, e Entry) { w.record(recordEntry, e.appendRecord) }
	tomb := func(w writer, ts tombstone) { w.record(recordTombstone, ts.appendRecord) }
	req := func(w writer, q request) { w.record(recordRequest, q.appendRecord) }
	ended := func(w writer, entries, tombstones, requests uint64) {
		fields(w, recordTrailer, number(trailerEntries, entries), number(trailerTombstones, tombstones), number(trailerRequests, requests))
	}
	trailer := func(w writer, entries, tombstones uint64) { ended(w, entries, tombstones, 0) }
	of := func(revision uint64) Result { return Result{Revision: revision} }
	sound := forged(func(w writer) {
		header(w)
		entry(w, Entry{Key: "a", Revision: 9, Expires: now + MaxTTL})
		entry(w, Entry{Key: "b", Value: make([]byte, testCluster.MaxValueBytes), Revision: 1})
		tomb(w, tombstone{"x", 1, 2})
		tomb(w, tombstone{"y", 1, 5})
		req(w, request{id: "r", time: 11, Result: of(1)})
		req(w, request{id: strings.Repeat("i", MaxRequestIDBytes), time: now, Result: Result{Revision: 9, Err: &ConflictError{Key: "k"}}})
		ended(w, 2, 2, 2)
	})
	if err := restore(newMachine(t, 4).FSM, sound); err != nil {
		t.Fatalf("a sound snapshot: %v", err)
	}

	cases := map[string]func(writer){
		"nothing":   func(writer) {},
		"no header": func(w writer) { trailer(w, 0, 0) },
		"floor above": func(w writer) {
			w.record(recordHeader, (&snapshot{revision: 9, floor: 10}).appendHeader)
			trailer(w, 0, 0)
		},
		"floor not needed": func(w writer) {
			w.record(recordHeader, func(dst []byte) []byte {
				return appendUint((&snapshot{revision: 9, floor: 9}).appendHeader(dst), headerFloor, 9)
			})
			trailer(w, 0, 0)
		},
		"two headers":     func(w writer) { header(w); header(w); trailer(w, 0, 0) },
		"no trailer":      header,
		"two trailers":    func(w writer) { header(w); trailer(w, 0, 0); trailer(w, 0, 0) },
		"unknown record":  func(w writer) { header(w); fields(w, 7); trailer(w, 0, 0) },
		"checksum early":  func(w writer) { header(w); fields(w, recordChecksum); trailer(w, 0, 0) },
		"wrong key count": func(w writer) { header(w); entry(w, Entry{Key: "a", Revision: 1}); trailer(w, 0, 0) },
		"wrong tombstone count": func(w writer) {
			header(w)
			trailer(w, 0, 1)
		},
		"entry after tombstone": func(w writer) {
			header(w)
			tomb(w, tombstone{"x", 1, 2})
			entry(w, Entry{Key: "a", Revision: 1})
			trailer(w, 1, 1)
		},
		"keys out of order": func(w writer) {
			header(w)
			entry(w, Entry{Key: "b", Revision: 1})
			entry(w, Entry{Key: "a", Revision: 1})
			trailer(w, 2, 0)
		},
		"key twice": func(w writer) {
			header(w)
			entry(w, Entry{Key: "a", Revision: 1})
			entry(w, Entry{Key: "a", Revision: 1})
			trailer(w, 1, 0)
		},
		"empty key":      func(w writer) { header(w); entry(w, Entry{Revision: 1}); trailer(w, 1, 0) },
		"revision 0":     func(w writer) { header(w); entry(w, Entry{Key: "a"}); trailer(w, 1, 0) },
		"later revision": func(w writer) { header(w); entry(w, Entry{Key: "a", Revision: 10}); trailer(w, 1, 0) },
		"key too long": func(w writer) {
			header(w)
			entry(w, Entry{Key: strings.Repeat("k", fanout.MaxKeyBytes+1), Revision: 1})
			trailer(w, 1, 0)
		},
		"value too long": func(w writer) {
			header(w)
			entry(w, Entry{Key: "a", Value: make([]byte, testCluster.MaxValueBytes+1), Revision: 1})
			trailer(w, 1, 0)
		},
		"record too long": func(w writer) {
			header(w)
			entry(w, Entry{Key: "a", Value: make([]byte, 2000), Revision: 1})
			trailer(w, 1, 0)
		},
		"entry without value": func(w writer) {
			header(w)
			fields(w, recordEntry, appendBytes(nil, entryKey, "a"), number(entryRevision, 1))
			trailer(w, 1, 0)
		},
		"entry with unknown field": func(w writer) {
			header(w)
			w.record(recordEntry, func(dst []byte) []byte {
				return appendUint((&Entry{Key: "a", Revision: 1}).appendRecord(dst), 6, 1)
			})
			trailer(w, 1, 0)
		},
		"tombstone of a living key": func(w writer) {
			header(w)
			entry(w, Entry{Key: "a", Revision: 1})
			tomb(w, tombstone{"a", 1, 2})
			trailer(w, 1, 1)
		},
		"tombstone twice": func(w writer) {
			header(w)
			tomb(w, tombstone{"x", 1, 2})
			tomb(w, tombstone{"x", 1, 3})
			trailer(w, 0, 2)
		},
		"tombstone that is forgotten": func(w writer) { header(w); tomb(w, tombstone{"x", 1, 1}); trailer(w, 0, 1) },
		"tombstone of the future":     func(w writer) { header(w); tomb(w, tombstone{"x", 1, 6}); trailer(w, 0, 1) },
		"tombstones out of order": func(w writer) {
			header(w)
			tomb(w, tombstone{"x", 1, 3})
			tomb(w, tombstone{"y", 1, 2})
			trailer(w, 0, 2)
		},
		"deletes that go back": func(w writer) {
			header(w)
			tomb(w, tombstone{"x", 2, 2})
			tomb(w, tombstone{"y", 1, 3})
			trailer(w, 0, 2)
		},
		"expires too late": func(w writer) {
			header(w)
			entry(w, Entry{Key: "a", Revision: 1, Expires: now + MaxTTL + 1})
			trailer(w, 1, 0)
		},
		"expires before all time": func(w writer) {
			header(w)
			entry(w, Entry{Key: "a", Revision: 1, Expires: -1})
			trailer(w, 1, 0)
		},
		"expires at 0": func(w writer) {
			header(w)
			w.record(recordEntry, func(dst []byte) []byte {
				return appendUint((&Entry{Key: "a", Revision: 1}).appendRecord(dst), entryExpires, 0)
			})
			trailer(w, 1, 0)
		},
		"wrong request count": func(w writer) { header(w); ended(w, 0, 0, 1) },
		"request twice": func(w writer) {
			header(w)
			req(w, request{id: "r", time: now, Result: of(1)})
			req(w, request{id: "r", time: now, Result: of(2)})
			ended(w, 0, 0, 2)
		},
		"requests out of order": func(w writer) {
			header(w)
			req(w, request{id: "r", time: now, Result: of(2)})
			req(w, request{id: "s", time: now, Result: of(1)})
			ended(w, 0, 0, 2)
		},
		"requests back in time": func(w writer) {
			header(w)
			req(w, request{id: "r", time: now, Result: of(1)})
			req(w, request{id: "s", time: now - 1, Result: of(2)})
			ended(w, 0, 0, 2)
		},
		"forgotten request":      func(w writer) { header(w); req(w, request{id: "r", time: 10, Result: of(1)}); ended(w, 0, 0, 1) },
		"request of the future":  func(w writer) { header(w); req(w, request{id: "r", time: now + 1, Result: of(1)}); ended(w, 0, 0, 1) },
		"request at revision 0":  func(w writer) { header(w); req(w, request{id: "r", time: now}); ended(w, 0, 0, 1) },
		"request later revision": func(w writer) { header(w); req(w, request{id: "r", time: now, Result: of(10)}); ended(w, 0, 0, 1) },
		"request after itself": func(w writer) {
			header(w)
			req(w, request{id: "r", time: now, Result: Result{Revision: 3, PrevRevision: 3}})
			ended(w, 0, 0, 1)
		},
		"request without id": func(w writer) { header(w); req(w, request{time: now, Result: of(1)}); ended(w, 0, 0, 1) },
		"request id too long": func(w writer) {
			header(w)
			req(w, request{id: strings.Repeat("i", MaxRequestIDBytes+1), time: now, Result: of(1)})
			ended(w, 0, 0, 1)
		},
		"request without key": func(w writer) {
			header(w)
			req(w, request{id: "r", time: now, Result: Result{Revision: 1, Err: &NotFoundError{}}})
			ended(w, 0, 0, 1)
		},
		"failed after a change": func(w writer) {
			header(w)
			req(w, request{id: "r", time: now, Result: Result{Revision: 2, PrevRevision: 1, Err: &NotFoundError{"k"}}})
			ended(w, 0, 0, 1)
		},
		"two requests of one revision": func(w writer) {
			header(w)
			req(w, request{id: "r", time: now, Result: of(1)})
			req(w, request{id: "s", time: now, Result: of(1)})
			ended(w, 0, 0, 2)
		},
		"too many, counted as kept": func(w writer) {
			header(w)
			for i := range uint64(5) {
				req(w, request{id: string('a' + rune(i)), time: now, Result: of(i + 1)})
			}
			ended(w, 0, 0, 4)
		},
		"too many requests": func(w writer) {
			header(w)
			for i := range uint64(5) {
				req(w, request{id: string('a' + rune(i)), time: now, Result: of(i + 1)})
			}
			ended(w, 0, 0, 5)
		},
		"tombstone after request": func(w writer) {
			header(w)
			req(w, request{id: "r", time: now, Result: of(1)})
			tomb(w, tombstone{"x", 1, 2})
			ended(w, 0, 1, 1)
		},
		"time beyond all time": func(w writer) {
			w.record(recordHeader, (&snapshot{revision: 9, time: maxTime + 1, cluster: testCluster}).appendHeader)
			trailer(w, 0, 0)
		},
		"time 0": func(w writer) {
			w.record(recordHeader, func(dst []byte) []byte {
				return appendUint((&snapshot{revision: 9, cluster: testCluster}).appendHeader(dst), headerTime, 0)
			})
			trailer(w, 0, 0)
		},
		"time without a cluster": func(w writer) {
			fields(w, recordHeader, number(headerRevision, 1), number(headerDeletes, 0), number(headerTime, 1))
			trailer(w, 0, 0)
		},
		"request without a cluster": func(w writer) {
			fields(w, recordHeader, number(headerRevision, 1), number(headerDeletes, 0))
			req(w, request{id: "r", Result: of(1)})
			ended(w, 0, 0, 1)
		},
		"half a cluster": func(w writer) {
			fields(w, recordHeader, number(headerRevision, 1), number(headerDeletes, 0), appendBytes(nil, headerClusterID, "x"))
			trailer(w, 0, 0)
		},
		"bad cluster": func(w writer) {
			fields(w, recordHeader, number(headerRevision, 1), number(headerDeletes, 0),
				appendBytes(nil, headerClusterID, "x"), number(headerMaxValue, MaxValueLimit+1))
			trailer(w, 0, 0)
		},
		"keys without a cluster": func(w writer) {
			fields(w, recordHeader, number(headerRevision, 1), number(headerDeletes, 0))
			entry(w, Entry{Key: "a", Revision: 1})
			trailer(w, 1, 0)
		},
		"deletes without a cluster": func(w writer) {
			fields(w, recordHeader, number(headerRevision, 1), number(headerDeletes, 1))
			trailer(w, 0, 0)
		},
	}
	m := smallMachine(t)
	for name, fill := range cases {
		t.Run(name, func(t *testing.T) { refuses(t, m, bytes.NewReader(forged(fill)), ErrCorruptSnapshot) })
	}
	t.Run("something after the end", func(t *testing.T) {
		refuses(t, m, bytes.NewReader(append(slices.Clone(sound), 0)), ErrCorruptSnapshot)
	})
}
