package fsm

import (
	"fmt"
	"time"

	"github.com/watchcast/watchcast/fanout"
)

// Check returns why a put, a delete or a batch would be refused whatever the
// state: an error that wraps [fanout.ErrBadKey], [ErrBadBatch], [ErrBadTTL],
// [ErrBadRequestID] or [ErrValueTooLarge]. It does not look at the stamp. Replicas
// check it again when they apply the command.
func (c Command) Check(cluster Cluster) error {
	if n := len(c.RequestID); n > MaxRequestIDBytes {
		return fmt.Errorf("%w: it has %d bytes; give 1 to %d", ErrBadRequestID, n, MaxRequestIDBytes)
	}
	if c.Op == CommandBatch {
		return c.checkBatch(cluster)
	}
	if err := c.checkPart(); err != nil {
		return err
	}
	if limit := cluster.MaxValueBytes; len(c.Value) > limit {
		return fmt.Errorf("%w: it has %d bytes; the limit of this cluster is %d", ErrValueTooLarge, len(c.Value), limit)
	}
	return nil
}

// checkPart checks what is the same for a command of its own and a part of a batch.
func (c Command) checkPart() error {
	if err := fanout.CheckKey(c.Key); err != nil {
		return err
	}
	if c.TTL < 0 || c.TTL > MaxTTL {
		return fmt.Errorf("%w: it is %v; give up to %v", ErrBadTTL, c.TTL, time.Duration(MaxTTL))
	}
	if c.TTL != 0 && c.Op != CommandPut {
		return fmt.Errorf("%w: only a put has one", ErrBadTTL)
	}
	return nil
}

func (c Command) checkBatch(cluster Cluster) error {
	switch n := len(c.Batch); {
	case n == 0 || n > MaxBatch:
		return fmt.Errorf("%w: it has %d operations; give 1 to %d", ErrBadBatch, n, MaxBatch)
	case c.IfRevision != nil || c.TTL != 0:
		return fmt.Errorf("%w: a condition or a time to live is given to all of it; give it to an operation", ErrBadBatch)
	}
	keys := make(map[string]struct{}, len(c.Batch))
	bytes := 0
	for _, part := range c.Batch {
		if !part.Op.inBatch() {
			return fmt.Errorf("%w: operation %d is neither a put nor a delete", ErrBadBatch, part.Op)
		}
		if err := part.checkPart(); err != nil {
			return err
		}
		if part.RequestID != "" {
			return fmt.Errorf("%w: the operation on key %q has a request id; give it to the batch", ErrBadBatch, part.Key)
		}
		if _, twice := keys[part.Key]; twice {
			return fmt.Errorf("%w: key %q occurs twice; give each key once", ErrBadBatch, part.Key)
		}
		keys[part.Key] = struct{}{}
		bytes += len(part.Value)
	}
	if limit := cluster.MaxValueBytes; bytes > limit {
		return fmt.Errorf("%w: the values of the batch have %d bytes together; the limit of this cluster is %d", ErrValueTooLarge, bytes, limit)
	}
	return nil
}
