package nats

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Bounds of listings: of lists, and of what has changed since a revision.
const (
	ChunkBytes    = 64 << 10         // in a chunk, unless one entry is longer
	MaxOpenChunks = 8                // of one listing that are not acknowledged
	MaxOpenBytes  = 1 << 20          // in these, unless it is one
	MaxListings   = 64               // open at a time, in a service; more are answered with CodeBusy
	AckTime       = 10 * time.Second // for the next acknowledgement
	ListingTime   = time.Minute      // for a whole listing
)

// listings are those that a service has open. It goes at the pace of who takes it:
// chunks go out while few are not acknowledged, so that neither the broker nor the
// connection holds much for somebody slow, and the state is let go in time.
//
// Each is sent by a goroutine of its service, which waits for it.
type listings struct {
	*responder
	stopped *Error // what is said when the service stops
	places  chan struct{}

	ackTime, listingTime time.Duration

	prefix string // of the subjects of acknowledgements: kv.ack.<instance>.

	mu   sync.Mutex
	open map[string]*listing // by an id that nobody guesses
}

func newListings(r *responder, o ServiceOptions, stopped *Error) *listings {
	return &listings{
		responder:   r,
		stopped:     stopped,
		places:      make(chan struct{}, MaxListings),
		ackTime:     cmp.Or(o.ackTime, AckTime),
		listingTime: cmp.Or(o.listingTime, ListingTime),
		open:        make(map[string]*listing),
	}
}

// subscribe makes acknowledgements arrive. Its place is behind micro.AddService, which
// names the instance, and before its endpoints.
func (l *listings) subscribe() error {
	l.prefix = l.subjects.KV + ".ack." + l.micro.Info().ID + "."
	sub, err := l.conn.Subscribe(l.prefix+"*.*", l.acknowledge)
	if err != nil {
		return fmt.Errorf("nats: subscribe to acknowledgements: %w", err)
	}
	l.extra = append(l.extra, sub)
	return nil
}

// endpoint adds an operation such as stale.list to the service: on its subject, and with
// a scope behind that.
func (l *listings) endpoint(op string, handle micro.HandlerFunc) error {
	name, subject := strings.ReplaceAll(op, ".", "-"), l.subjects.KV+"."+op
	for _, e := range []struct{ name, subject string }{{name, subject}, {name + "-within", subject + ".>"}} {
		if err := l.micro.AddEndpoint(e.name, l.answerable(handle), micro.WithEndpointSubject(e.subject)); err != nil {
			return fmt.Errorf("nats: start endpoint %s: %w", e.name, err)
		}
	}
	return nil
}

// admit takes a place for a listing; release gives it back.
func (l *listings) admit() error {
	select {
	case l.places <- struct{}{}:
		return nil
	default:
		return &Error{CodeBusy, fmt.Sprintf("%d listings are open; repeat later", cap(l.places))}
	}
}

func (l *listings) release() { <-l.places }

// acknowledge takes an acknowledgement to its listing. One that is late, or of no
// chunk that was sent, is passed over.
func (l *listings) acknowledge(m *nats.Msg) {
	id, number, _ := strings.Cut(strings.TrimPrefix(m.Subject, l.prefix), ".")
	n, err := strconv.ParseUint(number, 10, 64)
	l.mu.Lock()
	one := l.open[id]
	l.mu.Unlock()
	if err != nil || one == nil || n > one.sent.Load() || n <= one.acked.Load() {
		return
	}
	one.acked.Store(n)
	poke(one.news)
}

// serve opens a listing and sends it to its end, or says why not. It blocks until
// then, or until ctx ends.
func (l *listings) serve(ctx context.Context, c caller, open func(context.Context) (Listing, error)) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.listingTime, errListingTime)
	defer cancel()
	err := l.send(ctx, c, open)
	if err == nil {
		return
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errListingTime) {
		err = l.stopped
	}
	l.fail(c, err)
}

var errListingTime = &Error{CodeUnavailable, fmt.Sprintf("the listing was not taken within %v; ask again, for less", ListingTime)}

func (l *listings) send(ctx context.Context, c caller, open func(context.Context) (Listing, error)) error {
	state, err := open(ctx)
	if err != nil {
		return err
	}
	one := &listing{owner: l, caller: c, id: rand.Text(), state: state, news: make(chan struct{}, 1)}
	l.mu.Lock()
	l.open[one.id] = one
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.open, one.id)
		l.mu.Unlock()
	}()
	return one.run(ctx)
}

// listing is one that is open.
type listing struct {
	owner  *listings
	caller caller
	id     string

	// Of the goroutine that sends it.
	state   Listing
	entry   Change // the next one, not sent yet
	more    bool   // there is one
	buf     []byte
	pending []int  // bytes of the chunks that are not acknowledged
	bytes   int    // in all of these
	settled uint64 // chunks that were acknowledged, as far as pending knows

	sent  atomic.Uint64 // chunks; stored before one goes out
	acked atomic.Uint64 // the highest that was acknowledged; stored by acknowledge only
	news  chan struct{} // one slot: acked has grown
}

func (one *listing) run(ctx context.Context) error {
	one.next()
	for {
		data := one.chunk()
		if err := one.await(ctx, len(data)); err != nil {
			return err
		}
		if err := one.send(data); err != nil || !one.more {
			return err
		}
	}
}

// chunk returns the next entries, which are good until the next call.
func (one *listing) chunk() []byte {
	limit := min(ChunkBytes, int(one.owner.conn.MaxPayload())-chunkOverhead)
	one.buf = one.buf[:0]
	for one.more {
		n := len(one.buf)
		if one.buf = appendChange(one.buf, one.entry); n > 0 && len(one.buf) > limit {
			return one.buf[:n]
		}
		one.next()
	}
	return one.buf
}

func (one *listing) next() {
	one.entry, one.more = one.state.Next()
	if one.entry.TTL > 0 {
		one.entry.TTL = shownTTL(one.entry.TTL)
	}
}

const chunkOverhead = 512 // more than the headers take

// await returns when a chunk of size bytes may go out.
func (one *listing) await(ctx context.Context, size int) error {
	late := time.NewTimer(one.owner.ackTime)
	defer late.Stop()
	for !one.room(size) {
		select {
		case <-one.news:
			late.Reset(one.owner.ackTime)
		case <-late.C:
			return &Error{CodeUnavailable, fmt.Sprintf("chunk %d was not acknowledged within %v; publish an empty message to the reply subject of each, and ask again",
				one.settled+1, one.owner.ackTime)}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// room reports whether the window has room for a chunk of size bytes. An
// acknowledgement counts for all chunks before, as one may be lost.
func (one *listing) room(size int) bool {
	for acked := one.acked.Load(); one.settled < acked; one.settled++ {
		one.bytes -= one.pending[0]
		one.pending = one.pending[1:]
	}
	return len(one.pending) == 0 || len(one.pending) < MaxOpenChunks && one.bytes+size <= MaxOpenBytes
}

func (one *listing) send(data []byte) error {
	n := one.sent.Load() + 1
	m := &nats.Msg{
		Subject: one.caller.reply,
		Header:  chunk{revision: one.state.Revision, number: n, last: !one.more}.header(),
		Data:    data,
	}
	if one.more {
		m.Reply = one.owner.prefix + one.id + "." + strconv.FormatUint(n, 10)
	}
	one.sent.Store(n)
	one.pending = append(one.pending, len(data))
	one.bytes += len(data)
	switch err := one.owner.conn.PublishMsg(m); {
	case errors.Is(err, nats.ErrMaxPayload):
		return &Error{CodeTooLarge, fmt.Sprintf("an entry has %d bytes, more than this broker carries", len(data))}
	case err != nil:
		return &Error{CodeUnavailable, fmt.Sprintf("chunk %d could not be sent; ask again", n)}
	}
	return nil
}
