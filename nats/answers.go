package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// caller is who waits for an answer. Handlers answer by the [micro.Request];
// whoever answers later must not touch it, since package micro reads it without
// a lock when the handler has returned.
type caller struct{ subject, reply string }

func callerOf(req micro.Request) caller { return caller{req.Subject(), req.Reply()} }

var errStopped = &Error{CodeUnavailable, "this node does not lead any more; repeat"}

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
