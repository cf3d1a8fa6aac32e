package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
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
	// Await returns when the state includes the change of that revision.
	Await(ctx context.Context, revision uint64) error
	// Get reads the state as it is.
	Get(key string) (value []byte, revision uint64, err error)
}

// ReplicaOptions configures a [Replica]. Conn and Backend are required.
type ReplicaOptions struct {
	Conn     *nats.Conn
	Backend  ReplicaBackend
	Subjects Subjects
	Version  string            // semantic version, shown by nats micro
	Metadata map[string]string // shown by nats micro
	// Logger gets what a request cannot be told. Default: nothing.
	Logger *slog.Logger
}

// Replica answers stale reads, on every node for as long as it runs. All nodes
// stand in one queue group, so a request goes to any of them, and there are answers
// also while nobody leads. One that is on its way to a node that dies is lost.
//
// A request that has not to wait is answered by the goroutine of its subscription.
// One that has to gets a goroutine until then, of which the number is bounded: only
// who asks for a revision that is not there yet makes one.
type Replica struct {
	responder
	o      ReplicaOptions
	micro  micro.Service
	extra  *nats.Subscription
	ctx    context.Context // ends with Stop
	cancel context.CancelFunc
	places chan struct{} // one for each read that waits
	wg     sync.WaitGroup

	mu      sync.RWMutex // read-held while a request is taken
	stopped bool
}

// StartReplica subscribes and answers until Stop.
func StartReplica(o ReplicaOptions) (*Replica, error) {
	if o.Conn == nil || o.Backend == nil {
		return nil, fmt.Errorf("%w: a replica needs a connection and a backend", fanout.ErrBadOption)
	}
	if err := o.Subjects.Check(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Replica{
		responder: responder{conn: o.Conn, subjects: o.Subjects, logger: o.Logger},

		o:      o,
		places: make(chan struct{}, MaxAwaiting),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if err := r.subscribe(); err != nil {
		r.Stop()
		return nil, err
	}
	return r, nil
}

func (r *Replica) subscribe() (err error) {
	r.micro, err = micro.AddService(r.o.Conn, micro.Config{
		Name:        "watchcast-replica",
		Version:     r.o.Version,
		Description: "Reads of what one node of the key-value store has, leader or not",
		Metadata:    r.o.Metadata,
		ErrorHandler: func(_ micro.Service, e *micro.NATSError) {
			r.logger.Warn("replica cannot receive", "subject", e.Subject, "error", e.Description)
		},
	})
	if err != nil {
		return fmt.Errorf("nats: start the replica: %w", err)
	}
	root := r.subjects.KV + "." + staleGet
	if err := r.micro.AddEndpoint("stale-get", micro.HandlerFunc(r.get), micro.WithEndpointSubject(root+".>")); err != nil {
		return fmt.Errorf("nats: start endpoint stale-get: %w", err)
	}
	if r.extra, err = r.o.Conn.QueueSubscribe(root, micro.DefaultQueueGroup, r.noKey); err != nil {
		return fmt.Errorf("nats: subscribe to %s: %w", root, err)
	}
	return r.o.Conn.Flush()
}

const staleGet = "stale.get"

// Stop takes the replica away. Reads that wait are turned away.
func (r *Replica) Stop() {
	if r.micro != nil {
		if err := r.micro.Stop(); err != nil {
			r.logger.Debug("replica was gone already", "error", err)
		}
	}
	if r.extra != nil {
		if err := r.extra.Unsubscribe(); err != nil {
			r.logger.Debug("subscription was gone already", "error", err)
		}
	}
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
	revision, err := minimum(req)
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
	if r.has(revision) {
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

// has reports whether the state includes that revision by now.
func (r *Replica) has(revision uint64) bool {
	if revision == 0 {
		return true
	}
	over, cancel := context.WithCancel(r.ctx)
	cancel()
	return r.o.Backend.Await(over, revision) == nil
}

func (r *Replica) await(c caller, key string, revision uint64) {
	ctx, cancel := context.WithTimeout(r.ctx, AwaitTime)
	defer cancel()
	err := r.o.Backend.Await(ctx, revision)
	switch {
	case err == nil:
		r.read(c, key)
	case r.ctx.Err() != nil:
		r.fail(c, errLeaving)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		r.fail(c, &Error{CodeUnavailable, fmt.Sprintf("this node has not reached revision %d within %v; repeat, another may have", revision, AwaitTime)})
	default:
		r.fail(c, err)
	}
}

func (r *Replica) read(c caller, key string) {
	value, revision, err := r.o.Backend.Get(key)
	if err != nil {
		r.fail(c, err)
		return
	}
	r.answer(c, value, revision)
}
