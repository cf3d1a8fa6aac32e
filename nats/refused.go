package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// What a user may be refused, as the broker writes it before the subject.
const (
	toPublish   = "Publish to "
	toSubscribe = "Subscription to "
)

const (
	// askings is how often it is asked whether a user may do something, where the broker
	// refuses something else each time.
	askings = 10

	// headerAsking is on a request that is made to know whether it may be: nodes know no such
	// header, and carry out nothing.
	headerAsking = requestHeaders + "Asking"
)

// refused reports whether the last thing that the broker has refused is this, on this
// subject. One that may be heard may not be published on, and the other way round.
func (c *Client) refused(what, subject string) bool {
	last := c.o.Conn.LastError()
	return errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), what+strconv.Quote(subject))
}

// denied reports whether the broker has refused this, on this subject, since it had refused
// before. It is called when the broker must have had it.
//
// The client library knows the last refusal only. If that is another one of the same
// connection, it may have taken the place of this one, and the broker is asked again.
func (c *Client) denied(ctx context.Context, before error, what, subject string) bool {
	if c.refused(what, subject) {
		return true
	}
	if !c.refusedSince(before) {
		return false
	}
	select {
	case c.alone <- struct{}{}: // many that are refused at once would hide each other
		defer func() { <-c.alone }()
	case <-ctx.Done():
		return false
	}
	for range askings {
		before = c.o.Conn.LastError()
		if err := c.askFor(ctx, what, subject); err != nil {
			return false // there is no connection, or no time
		}
		if c.refused(what, subject) {
			return true
		}
		if !c.refusedSince(before) {
			return false
		}
	}
	return false // it is not known, and who asked goes on
}

// refusedSince reports whether the broker has refused a permission since it had refused before.
func (c *Client) refusedSince(before error) bool {
	last := c.o.Conn.LastError()
	return errors.Is(last, nats.ErrPermissionViolation) && last != before
}

// askFor does something in vain, to know whether the user may.
func (c *Client) askFor(ctx context.Context, what, subject string) error {
	if what == toPublish {
		if err := c.o.Conn.PublishMsg(&nats.Msg{Subject: subject, Header: nats.Header{headerAsking: {""}}}); err != nil {
			return err
		}
		return c.flush(ctx)
	}
	sub, err := c.o.Conn.Subscribe(subject, func(*nats.Msg) {})
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() // its only error is that the connection is closed
	return c.flush(ctx)
}

// heard returns an error if the broker has refused a watch the subscription to its events, or
// to the beacon and resets. It is called behind a flush; before is what the broker had refused
// last when they were made.
func (c *Client) heard(ctx context.Context, before error, events string) error {
	last := c.o.Conn.LastError()
	if errors.Is(last, nats.ErrMaxSubscriptionsExceeded) && !errors.Is(before, nats.ErrMaxSubscriptionsExceeded) {
		return cannotSubscribe(events, nats.ErrMaxSubscriptionsExceeded) // it does not say which
	}
	subjects := []string{events, c.o.Subjects.Beacon(), c.o.Subjects.Reset()}
	for _, s := range subjects {
		if c.refused(toSubscribe, s) {
			return cannotSubscribe(s, nats.ErrPermissionViolation)
		}
	}
	for _, s := range subjects {
		if c.denied(ctx, before, toSubscribe, s) {
			return cannotSubscribe(s, nats.ErrPermissionViolation)
		}
	}
	return nil
}

func cannotSubscribe(subject string, err error) error {
	return fmt.Errorf("nats: subscribe to %s: %w", subject, err)
}
