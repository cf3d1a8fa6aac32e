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
		c, err := parseMessage(message)
		switch {
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

// Check returns why a put, a delete or a batch would be refused whatever the
// state: an error that wraps [fanout.ErrBadKey], [ErrBadBatch] or
// [ErrValueTooLarge]. Replicas check it again when they apply the command.
func (c Command) Check(cluster Cluster) error {
	if c.Op == CommandBatch {
		return checkBatch(c.Batch, cluster)
	}
	if err := fanout.CheckKey(c.Key); err != nil {
		return err
	}
	if limit := cluster.MaxValueBytes; len(c.Value) > limit {
		return fmt.Errorf("%w: it has %d bytes; the limit of this cluster is %d", ErrValueTooLarge, len(c.Value), limit)
	}
	return nil
}

func checkBatch(batch []Command, cluster Cluster) error {
	if len(batch) == 0 || len(batch) > MaxBatch {
		return fmt.Errorf("%w: it has %d operations; give 1 to %d", ErrBadBatch, len(batch), MaxBatch)
	}
	keys := make(map[string]struct{}, len(batch))
	bytes := 0
	for _, c := range batch {
		if !c.Op.inBatch() {
			return fmt.Errorf("%w: operation %d is neither a put nor a delete", ErrBadBatch, c.Op)
		}
		if err := fanout.CheckKey(c.Key); err != nil {
			return err
		}
		if _, twice := keys[c.Key]; twice {
			return fmt.Errorf("%w: key %q occurs twice; give each key once", ErrBadBatch, c.Key)
		}
		keys[c.Key] = struct{}{}
		bytes += len(c.Value)
	}
	if limit := cluster.MaxValueBytes; bytes > limit {
		return fmt.Errorf("%w: the values of the batch have %d bytes together; the limit of this cluster is %d", ErrValueTooLarge, bytes, limit)
	}
	return nil
}

// batch carries out all of a batch that was checked, or nothing. It appends the
// events.
func (s *store) batch(batch []Command, events []*fanout.Event, at moment) ([]*fanout.Event, error) {
	for _, c := range batch {
		if err := s.allows(c); err != nil {
			return events, err
		}
	}
	before := len(events)
	for _, c := range batch {
		events = append(events, s.change(c, at))
	}
	made := events[before:]
	if len(made) > 1 {
		for i, e := range made {
			e.Batch, e.BatchSize = uint32(i), uint32(len(made))
		}
	}
	return events, nil
}
