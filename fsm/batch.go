package fsm

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/watchcast/watchcast/fanout"
)

// MaxBatch is how many commands a batch has at most. Replicas must agree on it, so
// it is no option.
const MaxBatch = 128

func appendBatch(batch []Command) (dst []byte) {
	var message []byte
	for _, c := range batch {
		message = c.appendMessage(message[:0])
		dst = append(protowire.AppendVarint(dst, uint64(len(message))), message...)
	}
	return dst
}

func parseBatch(data []byte) (batch []Command, err error) {
	for len(data) > 0 {
		message, n := protowire.ConsumeBytes(data)
		switch {
		case n < 0:
			return nil, fmt.Errorf("command %d of the batch: %w", len(batch), protowire.ParseError(n))
		case n != protowire.SizeBytes(len(message)):
			return nil, fmt.Errorf("command %d of the batch: %w", len(batch), errNotMinimal)
		case len(batch) == MaxBatch:
			return nil, fmt.Errorf("the batch has more than %d commands", MaxBatch)
		}
		var c Command
		switch err := c.parseMessage(message); {
		case err != nil:
			return nil, fmt.Errorf("command %d of the batch: %w", len(batch), err)
		case !c.Op.inBatch():
			return nil, fmt.Errorf("command %d of the batch: operation %d does not belong there", len(batch), c.Op)
		}
		batch, data = append(batch, c), data[n:]
	}
	return batch, nil
}

func (op CommandOp) inBatch() bool { return op == CommandPut || op == CommandDelete }

// batch carries out all of a batch that was checked, or nothing. It appends the
// events.
func (s *store) batch(batch []Command, events []*fanout.Event, at moment) ([]*fanout.Event, error) {
	for i := range batch {
		if err := s.allows(&batch[i]); err != nil {
			return events, err
		}
	}
	before := len(events)
	for i := range batch {
		events = append(events, s.change(&batch[i], at))
	}
	asBatch(events[before:])
	return events, nil
}

// asBatch tells the events of one revision which they are.
func asBatch(events []*fanout.Event) {
	if len(events) == 1 {
		return
	}
	for i, e := range events {
		e.Batch, e.BatchSize = uint32(i), uint32(len(events))
	}
}
