package nats

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/micro"

	"github.com/watchcast/watchcast/fanout"
)

const everyKey = ">"

// listingRequest asks for a list, or for what has changed.
type listingRequest struct {
	caller
	filter  fanout.Filter
	list    bool
	since   *uint64 // unless it is a list; nil asks only where the state stands
	minimum uint64  // revision that a replica must have
}

// parseListing reads a request to an operation that lists, or else says what has changed.
func (r *responder) parseListing(req micro.Request, op string, list bool, known ...string) (q listingRequest, err error) {
	q = listingRequest{caller: callerOf(req), list: list}
	if q.reply == "" {
		return q, &Error{CodeBadRequest, "there is no reply subject; give one"}
	}
	if !list {
		known = append(known, HeaderSince)
	}
	h, err := headersOf(req, known...)
	if err != nil {
		return q, err
	}
	if q.since, err = h.revision(HeaderSince, "the one at which what you know stands"); err != nil {
		return q, err
	}
	if q.minimum, err = h.minimum(); err != nil {
		return q, err
	}
	scope := strings.TrimPrefix(strings.TrimPrefix(req.Subject(), r.subjects.KV+"."+op), ".")
	pattern, err := within(scope, string(req.Data()))
	if err != nil {
		return q, err
	}
	if q.filter, err = fanout.PatternFilter(pattern); err != nil {
		return q, KeyError(err)
	}
	return q, nil
}

// within returns the pattern that a request asks for. A scope, behind the operation in the
// subject, is there for permissions, which brokers give by subject: the pattern must not
// reach beyond it.
func within(scope, pattern string) (string, error) {
	if scope == "" {
		return cmp.Or(pattern, everyKey), nil
	}
	if _, err := fanout.ParseSubjectForm(scope); err != nil {
		return "", KeyError(err)
	}
	pattern = cmp.Or(pattern, scope+"."+everyKey)
	if pattern != scope && !strings.HasPrefix(pattern, scope+".") {
		return "", &Error{CodeBadRequest, fmt.Sprintf("the pattern is %.100q, and the subject allows for %s and what is below it", pattern, scope)}
	}
	return pattern, nil
}

// scopeOf returns the narrowest scope that a pattern is within: its tokens before the first
// that is a wildcard.
func scopeOf(pattern string) string {
	tokens := strings.Split(pattern, ".")
	for i, token := range tokens {
		if token == "*" || token == everyKey {
			return strings.Join(tokens[:i], ".")
		}
	}
	return pattern
}

// small reports whether the answer is one chunk with no entry.
func (q *listingRequest) small() bool { return !q.list && q.since == nil }

func (q *listingRequest) open(b Lister) (Listing, error) {
	switch {
	case q.list:
		return b.List(q.filter)
	case q.small():
		revision, err := b.Stands()
		return Listing{Revision: revision, Next: func() (Change, bool) { return Change{}, false }}, err
	}
	return b.Since(q.filter, *q.since)
}

func (s *Service) list(req micro.Request) { s.listing(req, "list", true) }

func (s *Service) since(req micro.Request) { s.listing(req, "since", false) }

func (s *Service) listing(req micro.Request, op string, list bool) {
	q, err := s.parseListing(req, op, list)
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
	if !q.small() {
		if err := s.listings.admit(); err != nil {
			s.refuse(req, err)
			return
		}
	}
	select {
	case s.reads <- read{q.caller, "", &q}:
	default:
		s.letGo(&q)
		s.refuse(req, s.tooManyReads())
	}
}

func (s *Service) tooManyReads() *Error {
	return &Error{CodeBusy, fmt.Sprintf("%d reads are under way; repeat later", cap(s.reads))}
}

// letGo gives back the place of a listing, if it has one.
func (s *Service) letGo(q *listingRequest) {
	if !q.small() {
		s.listings.release()
	}
}

// startListing sends what was asked for, from a goroutine of its own if that may take
// long; unless err is why it may not be read.
func (s *Service) startListing(ctx context.Context, q *listingRequest, err error) {
	open := func(context.Context) (Listing, error) { return q.open(s.backend) }
	switch {
	case err != nil:
		s.letGo(q)
		s.fail(q.caller, err)
	case q.small():
		s.listings.serve(ctx, q.caller, open)
	default:
		s.wg.Go(func() {
			defer s.letGo(q)
			s.listings.serve(ctx, q.caller, open)
		})
	}
}

func (r *Replica) list(req micro.Request) { r.listing(req, "stale.list", true) }

func (r *Replica) since(req micro.Request) { r.listing(req, "stale.since", false) }

func (r *Replica) listing(req micro.Request, op string, list bool) {
	q, err := r.parseListing(req, op, list, HeaderMinRev)
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
	open := func(ctx context.Context) (Listing, error) {
		if r.backend.Revision() < q.minimum {
			if err := r.reach(ctx, q.minimum); err != nil {
				return Listing{}, err
			}
		}
		return q.open(r.backend)
	}
	if q.small() && r.backend.Revision() >= q.minimum {
		r.listings.serve(r.ctx, q.caller, open)
		return
	}
	if err := r.listings.admit(); err != nil {
		r.refuse(req, err)
		return
	}
	r.wg.Go(func() {
		defer r.listings.release()
		r.listings.serve(r.ctx, q.caller, open)
	})
}
