package nats

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/watchcast/watchcast/fanout"
)

// WriteOption is an option of a write.
type WriteOption func(*writeOptions)

type writeOptions struct {
	ifRevision *uint64
	ttl        time.Duration
	id         string
}

// IfRevision makes a write conditional: the key must be at this revision, 0 meaning
// that it must not exist. Otherwise the write fails with CodeConflict.
func IfRevision(revision uint64) WriteOption {
	return func(o *writeOptions) { o.ifRevision = &revision }
}

// TTL is how long the key of a put lives; 0, the default, is for ever.
func TTL(ttl time.Duration) WriteOption { return func(o *writeOptions) { o.ttl = ttl } }

// RequestID is the id of a write, 1 to 64 bytes. Of writes with the same id the first
// one takes effect, and the others get its answer, for five minutes. Default: an id
// that nobody else has. Give one to go on with a write after the process that sent it
// has ended.
func RequestID(id string) WriteOption { return func(o *writeOptions) { o.id = id } }

// ReadOption is an option of a read. Without one a read sees every write that was
// answered before it.
type ReadOption func(*readOptions)

type readOptions struct {
	stale bool
	min   uint64
}

// StaleRead lets any node answer, also while nobody leads, with what it has: the state at
// revision min at least, which the node waits for, for up to 2 s. 0 waits for nothing.
func StaleRead(min uint64) ReadOption { return func(o *readOptions) { o.stale, o.min = true, min } }

func with[T any, F ~func(*T)](opts []F) (o T) {
	for _, option := range opts {
		option(&o)
	}
	return o
}

// Put sets key to value and returns the revision of the change. It blocks until that is
// on the disks of a majority.
func (c *Client) Put(ctx context.Context, key string, value []byte, opts ...WriteOption) (revision uint64, err error) {
	return c.write(ctx, "put", key, value, opts)
}

// Delete removes key, which must exist, and returns the revision of the change.
func (c *Client) Delete(ctx context.Context, key string, opts ...WriteOption) (revision uint64, err error) {
	return c.write(ctx, "delete", key, nil, opts)
}

// CompareAndSet is Put with [IfRevision].
func (c *Client) CompareAndSet(ctx context.Context, key string, at uint64, value []byte, opts ...WriteOption) (revision uint64, err error) {
	return c.Put(ctx, key, value, append([]WriteOption{IfRevision(at)}, opts...)...)
}

// Batch carries out all operations, or none, and returns their one revision: 1 to 128,
// each of another key. [RequestID] is its only option; conditions and times to live are
// in the operations. The values together may be as long as one value if they are text
// with little to escape; of other bytes three quarters of that fit into a message.
func (c *Client) Batch(ctx context.Context, operations []Operation, opts ...WriteOption) (revision uint64, err error) {
	o := with[writeOptions](opts)
	if o.ifRevision != nil || o.ttl != 0 {
		return 0, &Error{CodeBadRequest, "a batch has no condition and no time to live of its own; give them to its operations"}
	}
	wire := make([]operation, len(operations))
	for i, one := range operations {
		if err := fanout.CheckKey(one.Key); err != nil {
			return 0, KeyError(err)
		}
		wire[i] = one.wire()
	}
	var data bytes.Buffer
	e := json.NewEncoder(&data)
	e.SetEscapeHTML(false) // it goes to no browser, and would be longer
	if err := e.Encode(wire); err != nil {
		return 0, fmt.Errorf("nats: batch: %w", err)
	}
	return c.propose(ctx, &nats.Msg{Subject: c.o.Subjects.KV + ".batch", Data: data.Bytes()}, o)
}

// wire is the inverse of operation.operation.
func (o Operation) wire() operation {
	w := operation{Op: "put", Key: fanout.SubjectForm(o.Key), IfRev: o.IfRevision}
	switch {
	case o.Delete:
		w.Op = "delete"
	case shorterAsText(o.Value):
		text := string(o.Value)
		w.Value = &text
	default:
		w.Base64 = o.Value
	}
	if o.TTL != 0 {
		ttl := o.TTL.String()
		w.TTL = &ttl
	}
	return w
}

// shorterAsText reports whether a value is text, and JSON needs no more for it as it is than
// in base64: a control character may take six bytes there.
func shorterAsText(value []byte) bool {
	size := len(value)
	for _, b := range value {
		switch {
		case b == '"' || b == '\\' || '\b' <= b && b <= '\r' && b != '\v':
			size++ // a backslash
		case b < ' ':
			size += len(`\u0000`) - 1
		}
	}
	for _, separator := range []string{"\u2028", "\u2029"} {
		size += bytes.Count(value, []byte(separator)) * (len(`\u2028`) - len(separator))
	}
	return size <= base64.StdEncoding.EncodedLen(len(value)) && utf8.Valid(value)
}

func (c *Client) write(ctx context.Context, op, key string, value []byte, opts []WriteOption) (uint64, error) {
	if err := fanout.CheckKey(key); err != nil {
		return 0, KeyError(err)
	}
	return c.propose(ctx, &nats.Msg{Subject: c.o.Subjects.Request(op, key), Data: value}, with[writeOptions](opts))
}

func (c *Client) propose(ctx context.Context, m *nats.Msg, o writeOptions) (uint64, error) {
	if o.id == "" {
		o.id = nuid.Next()
	}
	m.Header = nats.Header{HeaderRequestID: {o.id}}
	if o.ifRevision != nil {
		m.Header[HeaderIfRev] = []string{strconv.FormatUint(*o.ifRevision, 10)}
	}
	if o.ttl != 0 {
		m.Header[HeaderTTL] = []string{o.ttl.String()}
	}
	reply, err := c.call(ctx, m, true)
	if err != nil {
		return 0, err
	}
	return revisionIn(reply)
}

// Get returns the value of key with its revision, or fails with CodeNotFound.
func (c *Client) Get(ctx context.Context, key string, opts ...ReadOption) (Entry, error) {
	if err := fanout.CheckKey(key); err != nil {
		return Entry{}, KeyError(err)
	}
	op, header := with[readOptions](opts).on("get")
	reply, err := c.call(ctx, &nats.Msg{Subject: c.o.Subjects.Request(op, key), Header: header}, false)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Value: reply.Data}
	if e.Revision, err = revisionIn(reply); err != nil {
		return Entry{}, err
	}
	if text := reply.Header.Get(HeaderTTL); text != "" {
		if e.TTL, err = time.ParseDuration(text); err != nil {
			return Entry{}, fmt.Errorf("nats: malformed reply: header %s is %q", HeaderTTL, text)
		}
	}
	return e, nil
}

// on returns the operation that carries out a read with these options, and its headers.
func (o readOptions) on(op string) (string, nats.Header) {
	header := nats.Header{}
	if !o.stale {
		return op, header
	}
	if o.min != 0 {
		header[HeaderMinRev] = []string{strconv.FormatUint(o.min, 10)}
	}
	return "stale." + op, header
}
