package nats

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
)

// subscriptionBuffer is how many messages wait for [Subscription.Next]. What
// comes beyond is dropped by the client library, which reports a slow consumer
// to the connection's error handler.
const subscriptionBuffer = 65_536

// Subscription receives the changes of keys as they are published: events as
// they come, repeats after a leader change included. Losses that the leader
// announces are in it as [fanout.Lagged] events. What the broker drops, or what
// is published while the connection is down, is not.
type Subscription struct {
	subjects Subjects
	messages chan *nats.Msg
	subs     []*nats.Subscription

	revision uint64              // of the last event
	seen     map[string]struct{} // keys received at it
}

// Subscribe subscribes to the changes of all keys that match one of patterns
// (see [fanout.CheckPattern]), and returns when the broker knows. Errors wrap
// [fanout.ErrBadPattern] or are the connection's.
func Subscribe(conn *nats.Conn, s Subjects, patterns ...string) (_ *Subscription, err error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if len(patterns) == 0 {
		return nil, fmt.Errorf("%w: there is none; give one or more, > for every key", fanout.ErrBadPattern)
	}
	sub := &Subscription{
		subjects: s,
		messages: make(chan *nats.Msg, subscriptionBuffer),
		seen:     make(map[string]struct{}),
	}
	defer func() {
		if err != nil {
			sub.Close()
		}
	}()
	topics := []string{s.Reset()}
	for _, pattern := range patterns {
		if err := fanout.CheckPattern(pattern); err != nil {
			return nil, err
		}
		topics = append(topics, s.Events(pattern))
	}
	for _, topic := range topics {
		one, err := conn.ChanSubscribe(topic, sub.messages)
		if err != nil {
			return nil, fmt.Errorf("nats: subscribe to %s: %w", topic, err)
		}
		sub.subs = append(sub.subs, one)
	}
	if err := conn.Flush(); err != nil {
		return nil, fmt.Errorf("nats: subscribe: %w", err)
	}
	return sub, nil
}

// Next waits for the next event. Its error is the cause of ctx, or says which
// message is malformed; then the next call goes on behind it. One goroutine at
// a time may call it.
func (s *Subscription) Next(ctx context.Context) (*fanout.Event, error) {
	for {
		select {
		case m := <-s.messages:
			e, err := s.decode(m)
			if err != nil {
				return nil, err
			}
			if !s.repeated(e) {
				return e, nil
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (s *Subscription) decode(m *nats.Msg) (*fanout.Event, error) {
	if m.Subject != s.subjects.Reset() {
		return s.subjects.DecodeEvent(m)
	}
	r, err := DecodeReset(m)
	if err != nil {
		return nil, err
	}
	return &fanout.Event{Op: fanout.Lagged, PrevRevision: r.From, Revision: r.To}, nil
}

// repeated reports whether e came already, through another pattern that also
// matches its key. Such copies follow each other, since the broker sends them
// when the one event comes by.
func (s *Subscription) repeated(e *fanout.Event) bool {
	if e.Control() {
		return false
	}
	if e.Revision != s.revision {
		s.revision = e.Revision
		clear(s.seen)
	}
	_, seen := s.seen[e.Key]
	s.seen[e.Key] = struct{}{}
	return seen
}

// Close ends the subscription.
func (s *Subscription) Close() error {
	var first error
	for _, sub := range s.subs {
		if err := sub.Unsubscribe(); err != nil && first == nil {
			first = fmt.Errorf("nats: unsubscribe from %s: %w", sub.Subject, err)
		}
	}
	return first
}
