package nats

import (
	"context"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/micro"

	"github.com/watchcast/watchcast/fanout"
)

// Bounds of a [Service].
const (
	MaxWrites = 4096 // under way at a time; more are answered with CodeBusy
	MaxReads  = 4096

	writers = 3 // goroutines that take writes: those of put, delete and batch
)

// Service answers key-value requests as long as its node leads. It is an
// instance of its own for each term, and stands in no queue group: were it in
// one, a broker that still believes in a dead leader could hand requests to
// nobody.
//
// Handlers run on the goroutine of their subscription, so requests of one
// client to one endpoint reach the backend in order. They never wait for the
// backend: one goroutine waits for writes, in the order in which they will
// finish anyway, and answers them; another lets all reads that have come
// meanwhile share one proof of leadership. A listing is then sent by a goroutine of
// its own, of which the number is bounded.
type Service struct {
	responder
	backend Backend
	writes  chan write
	reads   chan read
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	listings *listings

	// A subscription that ends still hands over what it holds. mu is read-held
	// while a request is taken, so that none is taken after stopped is set.
	mu      sync.RWMutex
	stopped bool
}

type write struct {
	caller
	pending Pending
}

type read struct {
	caller
	key     string          // of a get
	listing *listingRequest // else
}

// StartService subscribes and answers until Stop. The error wraps
// [fanout.ErrBadOption], or is the connection's.
func StartService(b Backend, o ServiceOptions) (*Service, error) {
	if b == nil {
		return nil, fmt.Errorf("%w: a service needs a backend", fanout.ErrBadOption)
	}
	r, err := newResponder(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{
		responder: r,
		backend:   b,
		writes:    make(chan write, MaxWrites),
		reads:     make(chan read, MaxReads),
		cancel:    cancel,
	}
	s.listings = newListings(&s.responder, o, errStopped)
	s.wg.Go(func() { s.answerWrites(ctx) })
	s.wg.Go(func() { s.answerReads(ctx) })
	if err := s.subscribe(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Service) subscribe() (err error) {
	s.micro, err = micro.AddService(s.conn, micro.Config{
		Name:               "watchcast",
		Version:            s.version,
		Description:        "Replicated key-value store whose changes are published on " + s.subjects.Watch + ".<key>",
		Metadata:           s.metadata,
		QueueGroupDisabled: true,
		ErrorHandler:       func(_ micro.Service, e *micro.NATSError) { s.complain("service cannot receive", e) },
	})
	if err != nil {
		return fmt.Errorf("nats: start the service: %w", err)
	}
	if err := s.listings.subscribe(); err != nil {
		return err
	}
	batch := s.subjects.KV + ".batch"
	if err := s.micro.AddEndpoint("batch", s.answerable(s.batch), micro.WithEndpointSubject(batch)); err != nil {
		return fmt.Errorf("nats: start endpoint batch: %w", err)
	}
	for _, op := range []struct {
		name   string
		handle micro.HandlerFunc
	}{{"put", s.put}, {"delete", s.delete}, {"get", s.get}} {
		root := s.subjects.KV + "." + op.name
		if err := s.micro.AddEndpoint(op.name, s.answerable(op.handle), micro.WithEndpointSubject(root+".>")); err != nil {
			return fmt.Errorf("nats: start endpoint %s: %w", op.name, err)
		}
		sub, err := s.conn.Subscribe(root, s.noKey)
		if err != nil {
			return fmt.Errorf("nats: subscribe to %s: %w", root, err)
		}
		s.extra = append(s.extra, sub)
	}
	if err := s.listings.endpoint("list", s.list); err != nil {
		return err
	}
	if err := s.listings.endpoint("since", s.since); err != nil {
		return err
	}
	// The caller tells clients that the service is there; let it be so.
	return s.conn.Flush()
}

// Stop takes the service away and waits for its goroutines. Writes that were
// proposed are answered first, as far as their backend answers; everything else
// that has arrived is turned away.
func (s *Service) Stop() {
	s.leave()
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
}

func (s *Service) put(req micro.Request) {
	s.write(req, "put", false, HeaderIfRev, HeaderRequestID, HeaderTTL)
}

func (s *Service) delete(req micro.Request) {
	s.write(req, "delete", true, HeaderIfRev, HeaderRequestID)
}

func (s *Service) write(req micro.Request, op string, deletes bool, known ...string) {
	key, err := s.key(req, op)
	if err != nil {
		s.refuse(req, err)
		return
	}
	o, id, err := parseWrite(req, known)
	if err != nil {
		s.refuse(req, err)
		return
	}
	o.Key, o.Delete = key, deletes
	if !deletes {
		o.Value = req.Data()
	}
	s.propose(req, func() Pending { return s.backend.Write(o, id) })
}

func parseWrite(req micro.Request, known []string) (o Operation, id string, err error) {
	h, err := headersOf(req, known...)
	if err != nil {
		return Operation{}, "", err
	}
	if o, err = h.operation(); err != nil {
		return Operation{}, "", err
	}
	id, err = h.requestID()
	return o, id, err
}

// propose takes a write, if there is room for one more under way.
func (s *Service) propose(req micro.Request, propose func() Pending) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.stopped:
		s.refuse(req, errStopped)
	case len(s.writes) > cap(s.writes)-writers:
		// A place is needed before anything is proposed, and each goroutine that
		// fills the channel may have seen the same.
		s.refuse(req, &Error{CodeBusy, fmt.Sprintf("%d writes are under way; repeat later", len(s.writes))})
	default:
		s.writes <- write{callerOf(req), propose()}
	}
}

func (s *Service) get(req micro.Request) {
	key, err := s.key(req, "get")
	if err == nil {
		_, err = headersOf(req)
	}
	if err != nil {
		s.refuse(req, err)
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.stopped {
		s.refuse(req, errStopped)
		return
	}
	select {
	case s.reads <- read{callerOf(req), key, nil}:
	default:
		s.refuse(req, s.tooManyReads())
	}
}
