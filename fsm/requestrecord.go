package fsm

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/watchcast/watchcast/fanout"
)

// A request in a snapshot; snapshot.go has the format of the whole.

const (
	requestID       protowire.Number = 1
	requestCommand  protowire.Number = 2
	requestTime     protowire.Number = 3
	requestRevision protowire.Number = 4
	requestPrevious protowire.Number = 5
	requestKey      protowire.Number = 6
	requestConflict protowire.Number = 7
)

func (q *request) appendRecord(dst []byte) []byte {
	dst = appendBytes(dst, requestID, q.id)
	dst = appendFixed32(dst, requestCommand, q.sum)
	dst = appendUint(dst, requestTime, uint64(q.time))
	dst = appendUint(dst, requestRevision, q.Revision)
	dst = appendUnless0(dst, requestPrevious, q.PrevRevision)
	var missing *NotFoundError
	var conflict *ConflictError
	switch {
	case errors.As(q.Err, &missing):
		dst = appendBytes(dst, requestKey, missing.Key)
	case errors.As(q.Err, &conflict):
		dst = appendBytes(dst, requestKey, conflict.Key)
		dst = appendUint(dst, requestConflict, conflict.Revision)
	}
	return dst
}

func (r *snapshotReader) request(f *fields) error {
	var (
		q        request
		key      string
		conflict uint64
	)
	for f.next() {
		switch f.num {
		case requestID:
			q.id = string(f.bytes())
		case requestCommand:
			q.sum = f.fixed32()
		case requestTime:
			q.time = time.Duration(f.uint())
		case requestRevision:
			q.Revision = f.uint()
		case requestPrevious:
			q.PrevRevision = f.notZero()
		case requestKey:
			key = string(f.bytes())
		case requestConflict:
			conflict = f.uint()
		default:
			f.unknown()
		}
	}
	optional := setOf(requestPrevious, requestKey)
	if f.seen.has(requestKey) {
		optional = setOf(requestKey, requestConflict)
	}
	if err := f.finish(setOf(requestID, requestCommand, requestTime, requestRevision), optional); err != nil {
		return err
	}
	if f.seen.has(requestKey) {
		if err := fanout.CheckKey(key); err != nil {
			return err
		}
		q.Err = &NotFoundError{Key: key}
		if f.seen.has(requestConflict) {
			q.Err = &ConflictError{Key: key, Revision: conflict}
		}
	}
	if err := r.checkRequest(&q); err != nil {
		return err
	}
	r.store.requests.add(&q)
	r.lastReq = &q
	return nil
}

func (r *snapshotReader) checkRequest(q *request) error {
	all := &r.store.requests
	_, twice := all.byID[q.id]
	switch {
	case !r.store.initialized():
		return errNoCluster
	case q.id == "" || len(q.id) > MaxRequestIDBytes:
		return fmt.Errorf("the id of a request has %d bytes; there are 1 to %d", len(q.id), MaxRequestIDBytes)
	case twice:
		return fmt.Errorf("request %q is there twice", q.id)
	case len(all.list) == all.keep:
		return fmt.Errorf("there are more than %d requests", all.keep)
	case q.time < 0 || q.time > r.store.time || q.time+RequestLifetime <= r.store.time:
		return fmt.Errorf("request %q is of %d ns; it is %d now", q.id, uint64(q.time), r.store.time)
	case q.Revision == 0 || q.Revision > r.store.revision || q.PrevRevision >= q.Revision:
		return fmt.Errorf("request %q is of revision %d, after %d; the snapshot stands at %d", q.id, q.Revision, q.PrevRevision, r.store.revision)
	case r.lastReq != nil && (q.Revision <= r.lastReq.Revision || q.time < r.lastReq.time):
		return fmt.Errorf("request %q follows %q", q.id, r.lastReq.id)
	}
	return nil
}
