package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/watchcast/watchcast/fanout"
)

// Headers of requests.
const (
	// HeaderIfRev makes a write conditional: the key's revision must be this
	// one, 0 for a key that must not exist.
	HeaderIfRev = "Kv-If-Rev"

	requestHeaders = "Kv-" // a header with this prefix that is not known is refused
)

// Bounds of a [Service].
const (
	MaxWrites = 4096 // under way at a time; more are answered with CodeBusy
	MaxReads  = 4096
)

// Backend carries out requests. Its errors should be of type [*Error]; others
// are answered as internal.
type Backend interface {
	// Put proposes a change and returns at once; changes take effect in the
	// order of the calls. The condition is nil for none. The value is the
	// backend's to keep.
	Put(key string, value []byte, ifRevision *uint64) Pending
	// Delete is like Put.
	Delete(key string, ifRevision *uint64) Pending
	// Linearize returns once reads of this backend's state include everything
	// that was acknowledged before the call.
	Linearize(ctx context.Context) error
	// Get reads the state as it is.
	Get(key string) (value []byte, revision uint64, err error)
}

// Pending is a change under way. Wait blocks until it is applied or has failed
// and returns its revision.
type Pending interface {
	Wait() (revision uint64, err error)
}

// ServiceOptions configures a [Service]. Conn and Backend are required.
type ServiceOptions struct {
	Conn     *nats.Conn
	Backend  Backend
	Subjects Subjects
	Version  string            // semantic version, shown by nats micro
	Metadata map[string]string // shown by nats micro
	// Logger gets what a request cannot be told. Default: nothing.
	Logger *slog.Logger
}

// Service answers key-value requests as long as its node leads. It is an
// instance of its own for each term, and stands in no queue group: were it in
// one, a broker that still believes in a dead leader could hand requests to
// nobody.
//
// Handlers run on the goroutine of their subscription, so requests of one
// client to one endpoint reach the backend in order. They never wait for the
// backend: one goroutine waits for writes, in the order in which they will
// finish anyway, and answers them; another lets all reads that have come
// meanwhile share one proof of leadership.
type Service struct {
	o      ServiceOptions
	micro  micro.Service
	extra  []*nats.Subscription
	writes chan write
	reads  chan read
	cancel context.CancelFunc
	wg     sync.WaitGroup

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
	key string
}

// caller is who waits for an answer. Handlers answer by the [micro.Request];
// whoever answers later must not touch it, since package micro reads it without
// a lock when the handler has returned.
type caller struct{ subject, reply string }

func callerOf(req micro.Request) caller { return caller{req.Subject(), req.Reply()} }

var errStopped = &Error{CodeUnavailable, "this node does not lead any more; repeat"}

// StartService subscribes and answers until Stop.
func StartService(o ServiceOptions) (*Service, error) {
	if o.Conn == nil || o.Backend == nil {
		return nil, fmt.Errorf("%w: a service needs a connection and a backend", fanout.ErrBadOption)
	}
	if err := o.Subjects.Check(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{
		o:      o,
		writes: make(chan write, MaxWrites),
		reads:  make(chan read, MaxReads),
		cancel: cancel,
	}
	s.wg.Go(func() { s.answerWrites(ctx) })
	s.wg.Go(func() { s.answerReads(ctx) })
	if err := s.subscribe(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Service) subscribe() (err error) {
	s.micro, err = micro.AddService(s.o.Conn, micro.Config{
		Name:               "watchcast",
		Version:            s.o.Version,
		Description:        "Replicated key-value store whose changes are published on " + s.o.Subjects.Watch + ".<key>",
		Metadata:           s.o.Metadata,
		QueueGroupDisabled: true,
		ErrorHandler: func(_ micro.Service, e *micro.NATSError) {
			s.o.Logger.Warn("service cannot receive", "subject", e.Subject, "error", e.Description)
		},
	})
	if err != nil {
		return fmt.Errorf("nats: start the service: %w", err)
	}
	for _, op := range []struct {
		name   string
		handle micro.HandlerFunc
	}{{"put", s.put}, {"delete", s.delete}, {"get", s.get}} {
		root := s.o.Subjects.KV + "." + op.name
		if err := s.micro.AddEndpoint(op.name, op.handle, micro.WithEndpointSubject(root+".>")); err != nil {
			return fmt.Errorf("nats: start endpoint %s: %w", op.name, err)
		}
		sub, err := s.o.Conn.Subscribe(root, s.noKey)
		if err != nil {
			return fmt.Errorf("nats: subscribe to %s: %w", root, err)
		}
		s.extra = append(s.extra, sub)
	}
	// The caller tells clients that the service is there; let it be so.
	return s.o.Conn.Flush()
}

// Stop takes the service away and waits for its goroutines. Writes that were
// proposed are answered first, as far as their backend answers; everything else
// that has arrived is turned away.
func (s *Service) Stop() {
	if s.micro != nil {
		if err := s.micro.Stop(); err != nil {
			s.o.Logger.Debug("service was gone already", "error", err)
		}
	}
	for _, sub := range s.extra {
		if err := sub.Unsubscribe(); err != nil {
			s.o.Logger.Debug("subscription was gone already", "error", err)
		}
	}
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
}

func (s *Service) put(req micro.Request) {
	s.write(req, "put", func(key string, ifRevision *uint64) Pending {
		return s.o.Backend.Put(key, req.Data(), ifRevision)
	})
}

func (s *Service) delete(req micro.Request) {
	s.write(req, "delete", func(key string, ifRevision *uint64) Pending {
		return s.o.Backend.Delete(key, ifRevision)
	})
}

func (s *Service) write(req micro.Request, op string, propose func(string, *uint64) Pending) {
	key, err := s.key(req, op)
	if err != nil {
		s.refuse(req, err)
		return
	}
	ifRevision, err := condition(req)
	if err != nil {
		s.refuse(req, err)
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.stopped:
		s.refuse(req, errStopped)
	case len(s.writes) >= cap(s.writes)-1:
		// A place is needed before anything is proposed. Two goroutines fill
		// the channel, that of put and that of delete, hence the spare one.
		s.refuse(req, &Error{CodeBusy, fmt.Sprintf("%d writes are under way; repeat later", len(s.writes))})
	default:
		s.writes <- write{callerOf(req), propose(key, ifRevision)}
	}
}

func (s *Service) get(req micro.Request) {
	key, err := s.key(req, "get")
	if err == nil {
		err = knownHeaders(req)
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
	case s.reads <- read{callerOf(req), key}:
	default:
		s.refuse(req, &Error{CodeBusy, fmt.Sprintf("%d reads are under way; repeat later", cap(s.reads))})
	}
}

// noKey answers a request to an operation without a key.
func (s *Service) noKey(m *nats.Msg) {
	s.fail(caller{m.Subject, m.Reply}, &Error{CodeBadRequest, "the key is missing; request " + m.Subject + ".<key>"})
}

// answerWrites answers in the order of the proposals, which is the order in
// which they are applied.
func (s *Service) answerWrites(ctx context.Context) {
	for {
		select {
		case w := <-s.writes:
			s.answerWrite(w)
		case <-ctx.Done():
			for len(s.writes) > 0 {
				s.answerWrite(<-s.writes)
			}
			return
		}
	}
}

func (s *Service) answerWrite(w write) {
	revision, err := w.pending.Wait()
	if err != nil {
		s.fail(w.caller, err)
		return
	}
	s.answer(w.caller, nil, revision)
}

// answerReads serves all reads that have come by one proof of leadership,
// which begins after they came.
func (s *Service) answerReads(ctx context.Context) {
	batch := make([]read, 0, MaxReads)
	for {
		batch = batch[:0]
		select {
		case r := <-s.reads:
			batch = append(batch, r)
		case <-ctx.Done():
			for len(s.reads) > 0 {
				s.fail((<-s.reads).caller, errStopped)
			}
			return
		}
		for more := true; more && len(batch) < cap(batch); {
			select {
			case r := <-s.reads:
				batch = append(batch, r)
			default:
				more = false
			}
		}
		err := s.o.Backend.Linearize(ctx)
		if err != nil && ctx.Err() != nil {
			err = errStopped
		}
		for _, r := range batch {
			if err != nil {
				s.fail(r.caller, err)
				continue
			}
			value, revision, err := s.o.Backend.Get(r.key)
			if err != nil {
				s.fail(r.caller, err)
				continue
			}
			s.answer(r.caller, value, revision)
		}
		clear(batch)
	}
}

func (s *Service) answer(c caller, value []byte, revision uint64) {
	header := nats.Header{HeaderRev: {strconv.FormatUint(revision, 10)}}
	if errors.Is(s.send(c, header, value), nats.ErrMaxPayload) {
		s.fail(c, &Error{CodeTooLarge, fmt.Sprintf("the value has %d bytes, more than this broker carries", len(value))})
	}
}

// fail answers a request with an error.
func (s *Service) fail(c caller, err error) {
	e := s.failure(c.subject, err)
	s.send(c, nats.Header{
		micro.ErrorCodeHeader: {strconv.Itoa(int(e.Code))},
		micro.ErrorHeader:     {e.Description},
	}, nil)
}

// refuse is fail for a handler. Package micro counts the error.
func (s *Service) refuse(req micro.Request, err error) {
	e := s.failure(req.Subject(), err)
	if err := req.Error(strconv.Itoa(int(e.Code)), e.Description, nil); err != nil {
		s.o.Logger.Debug("reply was not sent", "error", err)
	}
}

// failure gives an error the form of an answer, and logs it if it is a defect.
func (s *Service) failure(subject string, err error) *Error {
	e := asError(err)
	if e.Code == CodeInternal {
		s.o.Logger.Error("request failed", "subject", subject, "error", e.Description)
	}
	return e
}

func (s *Service) send(c caller, header nats.Header, data []byte) error {
	if c.reply == "" {
		return nil
	}
	err := s.o.Conn.PublishMsg(&nats.Msg{Subject: c.reply, Header: header, Data: data})
	if err != nil {
		s.o.Logger.Debug("reply was not sent", "error", err)
	}
	return err
}

// key returns the key of a request's subject.
func (s *Service) key(req micro.Request, op string) (string, error) {
	form := strings.TrimPrefix(req.Subject(), s.o.Subjects.KV+"."+op+".")
	key, err := fanout.ParseSubjectForm(form)
	if err != nil {
		return "", KeyError(err)
	}
	return key, nil
}

// condition returns the revision of Kv-If-Rev, nil if there is none.
func condition(req micro.Request) (*uint64, error) {
	if err := knownHeaders(req, HeaderIfRev); err != nil {
		return nil, err
	}
	var values []string
	for name, v := range req.Headers() {
		if strings.EqualFold(name, HeaderIfRev) {
			values = append(values, v...)
		}
	}
	if len(values) == 0 {
		return nil, nil
	}
	revision, err := strconv.ParseUint(values[0], 10, 64)
	if err != nil || len(values) > 1 {
		return nil, &Error{CodeBadRequest, fmt.Sprintf("header %s is %q; give one revision, 0 for a key that must not exist", HeaderIfRev, strings.Join(values, ", "))}
	}
	return &revision, nil
}

// knownHeaders refuses a request with a Kv- header that is not among known: a
// condition that this version does not understand must not be dropped. Case does
// not matter. A name with white space around it passes for none that is known.
func knownHeaders(req micro.Request, known ...string) error {
next:
	for name := range req.Headers() {
		if bare := strings.TrimSpace(name); len(bare) < len(requestHeaders) || !strings.EqualFold(bare[:len(requestHeaders)], requestHeaders) {
			continue
		}
		for _, k := range known {
			if strings.EqualFold(name, k) {
				continue next
			}
		}
		return &Error{CodeBadRequest, fmt.Sprintf("header %q is not known to this operation; leave it out", name)}
	}
	return nil
}
