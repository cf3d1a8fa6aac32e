package nats

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// chunkTime is how long the next chunk of an answer may take: behind that the service
// has ended it.
const chunkTime = AckTime

// Changes is the answer to [Client.List] or [Client.Since]: entries that all stand at
// one revision. They come as they are taken, a few chunks ahead, so an answer of any
// size needs little memory. One goroutine at a time may use it.
type Changes struct {
	revision uint64
	conn     *nats.Conn
	sub      *nats.Subscription
	ctx      context.Context
	next     *nats.Msg // the chunk that came first
	number   uint64    // of the last chunk
	last     bool
}

// List returns the keys that match pattern (see [fanout.CheckPattern]), in key order,
// each as the Put that made it. It blocks until the first of them are there; ctx bounds
// the reading too. If not all are read, Close is to be called.
func (c *Client) List(ctx context.Context, pattern string, opts ...ReadOption) (*Changes, error) {
	op, header := with[readOptions](opts).on("list")
	return c.changes(ctx, op, pattern, header)
}

// Since returns the newest change of each key that matches pattern and has changed
// above revision. It fails with CodeGone if that is too long ago to tell; then List.
// Otherwise it is like List, in no order.
func (c *Client) Since(ctx context.Context, pattern string, revision uint64, opts ...ReadOption) (*Changes, error) {
	op, header := with[readOptions](opts).on("since")
	header[HeaderSince] = []string{strconv.FormatUint(revision, 10)}
	return c.changes(ctx, op, pattern, header)
}

// Revision asks the leader for the revision of the last change.
func (c *Client) Revision(ctx context.Context, opts ...ReadOption) (uint64, error) {
	return c.revision(ctx, ">", opts...)
}

// revision is Revision for a user that may only ask for what is within a pattern.
func (c *Client) revision(ctx context.Context, pattern string, opts ...ReadOption) (uint64, error) {
	op, header := with[readOptions](opts).on("since")
	l, err := c.changes(ctx, op, pattern, header)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.revision, nil
}

func (c *Client) changes(ctx context.Context, op, pattern string, header nats.Header) (*Changes, error) {
	if err := fanout.CheckPattern(pattern); err != nil {
		return nil, &Error{CodeBadRequest, err.Error()}
	}
	first, cancel := c.limited(ctx)
	defer cancel()
	m := &nats.Msg{Subject: c.o.Subjects.KV + "." + op, Header: header, Data: []byte(pattern)}
	if scope := scopeOf(pattern); scope != "" {
		m.Subject += "." + scope // for users that may ask for no more
	}
	// A leader that is slow must not be asked for a long answer again and again.
	a := attempts{client: c, subject: m.Subject, before: c.o.Conn.LastError(), time: longAttempt}
	ask := func(first context.Context) (*Changes, error) { return c.open(ctx, first, m) }
	return repeat(first, &a, ask, (*Changes).Close)
}

// open sends a request and waits for the first chunk of its answer.
func (c *Client) open(ctx, first context.Context, request *nats.Msg) (_ *Changes, err error) {
	m := *request
	l := &Changes{conn: c.o.Conn, ctx: ctx}
	// Not the connection's own inbox of replies, which knows of one message each.
	m.Reply = c.o.Conn.NewInbox()
	before := c.o.Conn.LastError()
	if l.sub, err = c.o.Conn.SubscribeSync(m.Reply); err != nil {
		return nil, fmt.Errorf("nats: subscribe for the answer to %s: %w", m.Subject, err)
	}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if err := c.o.Conn.PublishMsg(&m); err != nil {
		return nil, fmt.Errorf("nats: request %s: %w", m.Subject, err)
	}
	if err := l.receiveFirst(first, c, &m, before); err != nil {
		return nil, err
	}
	h, err := parseChunk(l.next)
	l.revision = h.revision
	return l, err
}

// receiveFirst waits for the first chunk of the answer to a request, and looks now and then
// whether the user may hear it. Before is what the broker had refused last.
func (l *Changes) receiveFirst(ctx context.Context, c *Client, request *nats.Msg, before error) (err error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, longAttempt)
		l.next, err = l.receive(attempt)
		cancel()
		switch {
		case err == nil:
			return nil
		case c.denied(ctx, before, toSubscribe, request.Reply):
			return fmt.Errorf("nats: this user may not hear answers on %s; give the inbox prefix that it may: %w", request.Reply, nats.ErrPermissionViolation)
		case ctx.Err() != nil || !errors.Is(err, nats.ErrTimeout):
			return c.unanswered(request.Subject, err)
		}
	}
}

// Revision returns where the entries stand: an answer to List is the state at it, one to
// Since what has changed up to it.
func (l *Changes) Revision() uint64 { return l.revision }

// All yields the entries, once. An error, of type [*Error], the context's or the
// connection's, is the last thing that it yields: what came before is right, but not all.
// It ends so, with CodeUnavailable, for who takes no entry for [AckTime], or not all within
// [ListingTime].
func (l *Changes) All() iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		defer l.Close()
		for !l.last {
			m, err := l.chunk()
			if err != nil {
				yield(Change{}, err)
				return
			}
			for c, err := range parseChanges(m.Data) {
				if !yield(c, err) || err != nil {
					return
				}
			}
			l.took(m)
		}
	}
}

// Close ends the reading.
func (l *Changes) Close() {
	l.sub.Unsubscribe() // its only error is that it has ended
}

// chunk returns the next one. When it was taken, took is called.
func (l *Changes) chunk() (*nats.Msg, error) {
	m := l.next
	l.next = nil
	for {
		if m == nil {
			var err error
			if m, err = l.receiveSoon(); err != nil {
				return nil, err
			}
		}
		h, err := parseChunk(m)
		switch {
		case err != nil:
			return nil, err
		case h.revision != l.revision || h.number > l.number+1:
			return nil, &Error{CodeUnavailable, "a part of the answer was lost; repeat"}
		case h.number == l.number+1:
			l.number, l.last = h.number, h.last
			return m, nil
		}
		m = nil // a repeat
	}
}

// took asks for more.
func (l *Changes) took(m *nats.Msg) {
	if m.Reply != "" {
		l.conn.Publish(m.Reply, nil) // without it, the next chunk does not come in time
	}
}

func (l *Changes) receiveSoon() (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(l.ctx, chunkTime)
	defer cancel()
	return l.receive(ctx)
}

func (l *Changes) receive(ctx context.Context) (*nats.Msg, error) {
	m, err := l.sub.NextMsgWithContext(ctx)
	if err != nil {
		if l.ctx.Err() != nil {
			return nil, context.Cause(l.ctx)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = nats.ErrTimeout
		}
		return nil, err
	}
	return m, errorIn(m)
}
