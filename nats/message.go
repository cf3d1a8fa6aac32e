package nats

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// Headers of event messages and replies.
const (
	HeaderOp    = "Watch-Op"    // put, delete, expire
	HeaderRev   = "Watch-Rev"   // revision, decimal
	HeaderPrev  = "Watch-Prev"  // revision of the key's previous change, 0 for none
	HeaderTime  = "Watch-Time"  // RFC 3339 with nanoseconds, UTC
	HeaderBatch = "Watch-Batch" // i/n in an atomic batch, i from 0

	// HeaderMsgID is <revision>.<position in the batch>, the same whenever a change is
	// published again: a JetStream stream that listens stores it once. It is for
	// streams; [Subjects.DecodeEvent] does not look at it.
	HeaderMsgID = nats.MsgIdHdr // Nats-Msg-Id
)

// EncodeEvent returns the message that carries e: the value as it is, the rest
// in headers. Control events have no message of this form.
func (s Subjects) EncodeEvent(e *fanout.Event) *nats.Msg {
	return encodeEvent(s.Event(e.Key), e)
}

// encodeEvent is for who has the subject already.
func encodeEvent(subject string, e *fanout.Event) *nats.Msg {
	revision := strconv.FormatUint(e.Revision, 10)
	m := &nats.Msg{
		Subject: subject,
		Header: nats.Header{
			HeaderOp:    {e.Op.String()},
			HeaderRev:   {revision},
			HeaderPrev:  {strconv.FormatUint(e.PrevRevision, 10)},
			HeaderTime:  {e.Time.UTC().Format(time.RFC3339Nano)},
			HeaderMsgID: {revision + "." + strconv.FormatUint(uint64(e.Batch), 10)},
		},
		Data: e.Value,
	}
	if e.BatchSize > 1 {
		m.Header[HeaderBatch] = []string{fmt.Sprintf("%d/%d", e.Batch, e.BatchSize)}
	}
	return m
}

// DecodeEvent is the inverse of [Subjects.EncodeEvent]. PrevValue does not
// travel. The error says which part of the message is wrong.
func (s Subjects) DecodeEvent(m *nats.Msg) (*fanout.Event, error) {
	key, err := s.Key(m.Subject)
	if err != nil {
		return nil, err
	}
	e := &fanout.Event{Key: key}
	op, ok := fanout.ParseOp(m.Header.Get(HeaderOp))
	if e.Op = op; !ok || e.Control() {
		return nil, badHeader(m, HeaderOp)
	}
	if e.Revision, err = strconv.ParseUint(m.Header.Get(HeaderRev), 10, 64); err != nil || e.Revision == 0 {
		return nil, badHeader(m, HeaderRev)
	}
	if e.PrevRevision, err = strconv.ParseUint(m.Header.Get(HeaderPrev), 10, 64); err != nil || e.PrevRevision >= e.Revision {
		return nil, badHeader(m, HeaderPrev)
	}
	if e.Time, ok = parseTime(m.Header.Get(HeaderTime)); !ok {
		return nil, badHeader(m, HeaderTime)
	}
	if batch := m.Header.Get(HeaderBatch); batch != "" {
		if e.Batch, e.BatchSize, ok = parseBatch(batch); !ok {
			return nil, badHeader(m, HeaderBatch)
		}
	}
	if op == fanout.Put {
		e.Value = append([]byte{}, m.Data...)
	}
	return e, nil
}

// parseTime takes a time as it is written on the wire, in UTC, and no other: of an offset
// that no zone has the standard library reads more than it can write.
func parseTime(text string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, text)
	t = t.UTC()
	return t, err == nil && t.Format(time.RFC3339Nano) == text
}

func parseBatch(s string) (i, n uint32, ok bool) {
	first, second, _ := strings.Cut(s, "/")
	a, err1 := strconv.ParseUint(first, 10, 32)
	b, err2 := strconv.ParseUint(second, 10, 32)
	return uint32(a), uint32(b), err1 == nil && err2 == nil && a < b && b > 1
}

func badHeader(m *nats.Msg, name string) error {
	return fmt.Errorf("nats: message on %q is no event: header %s is %q", m.Subject, name, m.Header.Get(name))
}
