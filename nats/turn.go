package nats

import (
	"context"
	"errors"
)

// maxTurns is how many watches of a client take answers at a time. Of each of these as much as
// MaxOpenBytes may be on its way. Over a slow link all of it waits in the broker, and a client
// for which a broker holds more than 16 MiB for a second is cut off: then each watch would ask
// again, from the beginning, and be cut off again.
//
// Those that got no answer when they asked last, as where requests do not come through for their
// patterns, have fewer turns of their own, so that the others do not wait for them.
const (
	maxTurns     = 12
	maxLateTurns = 4
)

// noTurn is why a watch has not asked yet.
func noTurn() error { return errors.New("nats: other watches of the client have asked before") }

// turns are the places of those that take answers, with one element for each that is taken.
type turns struct{ usual, late chan struct{} }

func newTurns() turns {
	return turns{usual: make(chan struct{}, maxTurns), late: make(chan struct{}, maxLateTurns)}
}

// turn is a watch's place among them. It is of the watch's goroutine.
type turn struct {
	places chan struct{} // one of turns
	has    chan struct{} // where it has one; nil for nowhere
}

// take waits for a place, first come first served, or until ctx ends.
func (t *turn) take(ctx context.Context) error {
	select {
	case t.places <- struct{}{}:
		t.has = t.places
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave gives the place back, if there is one.
func (t *turn) leave() {
	if t.has != nil {
		<-t.has
		t.has = nil
	}
}

// takeTurn is take for a watch, whose consumer is told if that takes long.
func (w *Watch) takeTurn(ctx context.Context) error {
	_, err := inTime(w, noTurn, func() (struct{}, error) { return struct{}{}, w.turn.take(ctx) })
	return err
}
