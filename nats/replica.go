package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/watchcast/watchcast/fanout"
)

// Bounds of a [Replica].
const (
	MaxAwaiting = 1024            // reads that wait for a revision at a time; more are answered with CodeBusy
	AwaitTime   = 2 * time.Second // for a revision; then the answer is CodeUnavailable
)

// ReplicaBackend is the state of a node, leader or not. Its errors should be of type
// [*Error]; others are answered as internal.
type ReplicaBackend interface {
	// Revision returns what the state includes by now.
	Revision() uint64
	// Await returns when the state includes the change of that revision.
	Await(ctx context.Context, revision uint64) error
	// Get reads the state as it is.
	Get(key string) (Entry, error)
	Lister
}

// Replica answers stale reads, on every node for as long as it runs. All nodes
// stand in one queue group, so a request goes to any of them, and there are answers
// also while nobody leads. One that is on its way to a node that dies is lost.
//
// A get that has not to wait is answered by the goroutine of its subscription.
// One that has to gets a goroutine until then, of which the number is bounded: only
// who asks for a revision that is not there yet makes one. So does a listing.
type Replica struct {
	responder
	backend ReplicaBackend
	ctx     context.Context // ends with Stop
	cancel  context.CancelFunc
	places  chan struct{} // one for each read that waits
	wg      sync.WaitGroup

	listings *listings

	mu      sync.RWMutex // read-held while a request is taken
	stopped bool
}

// StartReplica subscribes and answers until Stop. The error wraps
// [fanout.ErrBadOption], or is the connection's.
func StartReplica(b ReplicaBackend, o ServiceOptions) (*Replica, error) {
	if b == nil {
		return nil, fmt.Errorf("%w: a replica needs a backend", fanout.ErrBadOption)
	}
	answers, err := newResponder(o)
	if err != nil {
		return nil, err
	}
	r := &Replica{responder: answers, backend: b, places: make(chan struct{}, MaxAwaiting)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.listings = newListings(&r.responder, o, errLeaving)
	if err := r.subscribe(); err != nil {
		r.Stop()
		return nil, err
	}
	return r, nil
}

func (r *Replica) subscribe() (err error) {
	r.micro, err = micro.AddService(r.conn, micro.Config{
		Name:         "watchcast-replica",
		Version:      r.version,
		Description:  "Reads of what one node of the key-value store has, leader or not",
		Metadata:     r.metadata,
		ErrorHandler: func(_ micro.Service, e *micro.NATSError) { r.complain("replica cannot receive", e) },
	})
	if err != nil {
		return fmt.Errorf("nats: start the replica: %w", err)
	}
	if err := r.listings.subscribe(); err != nil {
		return err
	}
	root := r.subjects.KV + "." + staleGet
	if err := r.micro.AddEndpoint("stale-get", r.answerable(r.get), micro.WithEndpointSubject(root+".>")); err != nil {
		return fmt.Errorf("nats: start endpoint stale-get: %w", err)
	}
	sub, err := r.conn.QueueSubscribe(root, micro.DefaultQueueGroup, r.noKey)
	if err != nil {
		return fmt.Errorf("nats: subscribe to %s: %w", root, err)
	}
	r.extra = append(r.extra, sub)
	if err := r.listings.endpoint("stale.list", r.list); err != nil {
		return err
	}
	if err := r.listings.endpoint("stale.since", r.since); err != nil {
		return err
	}
	return r.conn.Flush()
}

const staleGet = "stale.get"

// Stop takes the replica away. Reads that wait are turned away.
func (r *Replica) Stop() {
	r.leave()
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.cancel()
	r.wg.Wait()
}

func (r *Replica) get(req micro.Request) {
	key, err := r.key(req, staleGet)
	if err != nil {
		r.refuse(req, err)
		return
	}
	h, err := headersOf(req, HeaderMinRev)
	if err != nil {
		r.refuse(req, err)
		return
	}
	revision, err := h.minimum()
	if err != nil {
		r.refuse(req, err)
		return
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.stopped {
		r.refuse(req, errLeaving)
		return
	}
	if r.backend.Revision() >= revision {
		r.read(callerOf(req), key)
		return
	}
	select {
	case r.places <- struct{}{}:
		c := callerOf(req)
		r.wg.Go(func() {
			defer func() { <-r.places }()
			r.await(c, key, revision)
		})
	default:
		r.refuse(req, &Error{CodeBusy, fmt.Sprintf("%d reads wait for a revision; repeat later", cap(r.places))})
	}
}

var errLeaving = &Error{CodeUnavailable, "this node is closing; repeat"}

func (r *Replica) await(c caller, key string, revision uint64) {
	if err := r.reach(r.ctx, revision); err != nil {
		r.fail(c, err)
		return
	}
	r.read(c, key)
}

// reach returns when the state includes the change of that revision.
func (r *Replica) reach(ctx context.Context, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, AwaitTime)
	defer cancel()
	err := r.backend.Await(ctx, revision)
	switch {
	case err == nil:
		return nil
	case r.ctx.Err() != nil:
		return errLeaving
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &Error{CodeUnavailable, fmt.Sprintf("this node has not reached revision %d within %v; repeat, another may have", revision, AwaitTime)}
	}
	return err
}

func (r *Replica) read(c caller, key string) {
	e, err := r.backend.Get(key)
	if err != nil {
		r.fail(c, err)
		return
	}
	r.answer(c, e)
}
