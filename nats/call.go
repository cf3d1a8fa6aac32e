package nats

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

const (
	// Behind these without an answer the request is sent again. One that was on its way to a
	// leader that died should not wait for long; and a leader that is slow should not be sent
	// more and more.
	firstAttempt = 300 * time.Millisecond
	longAttempt  = 2 * time.Second

	firstPause = 20 * time.Millisecond // between attempts
	longPause  = 250 * time.Millisecond

	// A request id is remembered for five minutes. Behind that a repeat could take
	// effect a second time.
	maxRetry = 4 * time.Minute
)

// attempts is a request that is sent again and again.
type attempts struct {
	client  *Client
	subject string
	before  error // what the broker had refused last
	writes  bool
	time    time.Duration // for the next one
	pause   time.Duration
	last    error
	sent    bool // one of them may have been carried out
}

// outcome is what became of an attempt.
type outcome[T any] struct {
	number int
	answer T
	err    error
}

// repeat asks until one of the attempts is answered, whichever: where an answer takes longer
// on its way than an attempt is given, the later ones would come no sooner. An answer that
// nobody takes any more is dropped.
func repeat[T any](ctx context.Context, a *attempts, ask func(context.Context) (T, error), drop func(T)) (none T, err error) {
	running, cancel := context.WithCancel(ctx)
	outcomes := make(chan outcome[T])
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for n := 0; ; n++ {
		wg.Go(func() {
			o := outcome[T]{number: n}
			o.answer, o.err = ask(running)
			select {
			case outcomes <- o:
			case <-running.Done():
				if o.err == nil {
					drop(o.answer)
				}
			}
		})
		late := time.After(a.next())
		var taken chan passage
		for over := false; !over; {
			select {
			case o := <-outcomes:
				if o.err == nil {
					return o.answer, nil
				}
				if !a.passing(o.err) {
					return none, a.failure(ctx)
				}
				over = o.number == n // else there is another in its place
			case <-late:
				// Over a slow link it may be on its way still, and another one would be behind it.
				taken = make(chan passage, 1)
				wg.Go(func() { a.client.pass(running, a, taken) })
			case p := <-taken:
				if p.took > firstAttempt {
					late = time.After(a.time) // it has only just come there
					continue
				}
				over = true
				if !a.passing(p.err) {
					return none, a.failure(ctx)
				}
			case <-ctx.Done():
				a.passing(a.client.unanswered(a.subject, ctx.Err()))
				return none, a.failure(ctx)
			}
		}
		if !a.rest(ctx) {
			return none, a.failure(ctx)
		}
	}
}

// next returns how long to wait before the next attempt is followed by another.
func (a *attempts) next() time.Duration {
	a.time = min(max(2*a.time, firstAttempt), longAttempt)
	return a.time
}

// passing notes why an attempt has failed, and reports whether another one may do better.
func (a *attempts) passing(err error) bool {
	a.last = err
	e := (*Error)(nil)
	switch {
	case errors.As(err, &e) && e.Code == CodeBusy, errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrReconnectBufExceeded):
		// nobody has done anything
	case errors.As(err, &e) && (e.Code == CodeUnavailable || e.Code == CodeUnknown), errors.Is(err, nats.ErrTimeout),
		errors.Is(err, nats.ErrDisconnected), // the connection was given up on which it had gone
		ofSocket(err),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		a.sent = true
	default:
		a.sent = a.sent || errors.Is(err, nats.ErrConnectionClosed) // on the way, maybe
		return false
	}
	return true
}

// ofSocket reports whether the client library found the connection broken, or its broker not
// reading, with a request in its hand: a long one, or one behind many others. It writes these
// at once, and says itself what came of it; another connection may do better.
func ofSocket(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, io.ErrClosedPipe)
}

// rest waits before the next attempt. It returns false if ctx ends before.
func (a *attempts) rest(ctx context.Context) bool {
	a.pause = min(max(2*a.pause, firstPause), longPause)
	select {
	case <-time.After(a.pause/2 + rand.N(a.pause)/2):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// failure returns the error of a request that is given up, because its time has run out
// or for the sake of the last attempt.
func (a *attempts) failure(ctx context.Context) error {
	over := ctx.Err() != nil
	coded := (*Error)(nil)
	// What is too long for the broker may have gone out to another one, which took it.
	tooLong := errors.As(a.last, &coded) && coded.Code == CodeTooLarge
	if coded != nil && !over && !(tooLong && a.writes && a.sent) {
		return a.last
	}
	e := &Error{CodeUnavailable, fmt.Sprintf("no answer to %s in time; is there a leader?", a.subject)}
	if a.writes && a.sent {
		e = &Error{CodeUnknown, fmt.Sprintf("no answer to %s; it may have taken effect, read to know", a.subject)}
	}
	switch {
	case over:
		return fmt.Errorf("%w (last: %v): %w", e, a.last, context.Cause(ctx))
	case tooLong: // which the write is not, maybe: it is no answer
		return fmt.Errorf("%w: %v", e, a.last)
	case e.Code == CodeUnknown:
		return fmt.Errorf("%w: %w", e, a.last)
	}
	return a.last
}

// limited returns ctx with the deadline that every request has.
func (c *Client) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithTimeout(ctx, maxRetry)
	}
	return context.WithTimeout(ctx, c.o.Timeout)
}

// flush returns when the broker has processed what was sent, subscriptions above all. One
// that is made on a connection which breaks is made again on the next, and so is the question.
func (c *Client) flush(ctx context.Context) error {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	for {
		err := c.o.Conn.FlushWithContext(ctx)
		// The client library says so of any connection that breaks.
		if !errors.Is(err, nats.ErrConnectionClosed) || c.o.Conn.IsClosed() {
			return err
		}
	}
}

// passage is how long it took until the broker had what was sent; or nothing, if that has gone
// with its connection. The error is that of an attempt that has no answer by then.
type passage struct {
	took time.Duration
	err  error
}

func (c *Client) pass(ctx context.Context, a *attempts, to chan<- passage) {
	began, connection := time.Now(), c.o.Conn.Stats().Reconnects
	c.flush(ctx) // its only errors are that there is no connection, or no time
	if c.o.Conn.Stats().Reconnects != connection {
		began = time.Now()
	}
	p := passage{time.Since(began), nats.ErrTimeout}
	if p.took <= firstAttempt && c.denied(ctx, a.before, toPublish, a.subject) {
		p.err = mayNotAsk(a.subject)
	}
	to <- p
}

// call sends a request until it is answered, and returns the answer, or the [*Error] in
// it. One that writes must carry a request id.
func (c *Client) call(ctx context.Context, m *nats.Msg, writes bool) (*nats.Msg, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", &Error{CodeUnavailable, "nothing was asked"}, err)
	}
	a := attempts{client: c, subject: m.Subject, before: c.o.Conn.LastError(), writes: writes}
	ask := func(ctx context.Context) (*nats.Msg, error) { return c.attempt(ctx, m) }
	return repeat(ctx, &a, ask, func(*nats.Msg) {})
}

func (c *Client) attempt(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	reply, err := c.o.Conn.RequestMsgWithContext(ctx, m)
	if errors.Is(err, nats.ErrMaxPayload) {
		return nil, &Error{CodeTooLarge, fmt.Sprintf("the request has %d bytes and its headers, more than the broker carries", len(m.Data))}
	}
	if err != nil {
		return nil, c.unanswered(m.Subject, err)
	}
	return reply, errorIn(reply)
}

// unanswered adds what the broker has said about a request that got no answer.
func (c *Client) unanswered(subject string, err error) error {
	if c.refused(toPublish, subject) {
		return mayNotAsk(subject)
	}
	return err
}

func mayNotAsk(subject string) error {
	return fmt.Errorf("nats: this user may not request %s: %w", subject, nats.ErrPermissionViolation)
}

// errorIn returns the error that a reply carries, if it is one.
func errorIn(m *nats.Msg) error {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return nats.ErrNoResponders
	}
	text := m.Header.Get(micro.ErrorCodeHeader)
	if text == "" {
		return nil
	}
	code, err := strconv.Atoi(text)
	if err != nil {
		return &Error{CodeInternal, fmt.Sprintf("the error code is %.20q", text)}
	}
	return &Error{Code(code), m.Header.Get(micro.ErrorHeader)}
}

// revisionIn returns the revision in a reply.
func revisionIn(m *nats.Msg) (uint64, error) {
	revision, err := strconv.ParseUint(m.Header.Get(HeaderRev), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("nats: malformed reply: header %s is %q", HeaderRev, m.Header.Get(HeaderRev))
	}
	return revision, nil
}
