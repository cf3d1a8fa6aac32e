package linear

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/node"
)

// goClient asks nodes of this process: the one it was answered by last, and now
// and then another, which may think that it leads.
type goClient struct {
	t     *testing.T
	nodes func() []*node.Node // those that run
	rng   *rand.Rand
	limit time.Duration // for one request

	mu   sync.Mutex
	last *node.Node
}

func (c *goClient) pick() *node.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil && c.rng.IntN(10) > 0 {
		return c.last
	}
	nodes := c.nodes()
	return nodes[c.rng.IntN(len(nodes))]
}

func (c *goClient) keep(n *node.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = n
}

func (c *goClient) do(ctx context.Context, in input) (output, bool) {
	// Not of the load's context: a request is not given up because time is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.limit)
	defer cancel()
	n := c.pick()
	out, err := c.ask(ctx, n, in)
	switch {
	case err == nil:
		c.keep(n)
		return out, true
	case errors.Is(err, fsm.ErrNotFound):
		return output{result: absent}, true
	case errors.Is(err, fsm.ErrConflict):
		return output{result: conflict}, true
	case errors.Is(err, node.ErrUnknownOutcome):
		return output{result: unknown}, true
	case errors.Is(err, node.ErrNotLeader), errors.Is(err, node.ErrNoLeader), errors.Is(err, node.ErrClosed), errors.Is(err, node.ErrBusy),
		errors.Is(err, context.DeadlineExceeded): // of a write, too: where its time was over before it was begun
		c.keep(nil)
		return output{why: n.ID() + ": " + err.Error()}, false
	}
	c.t.Errorf("%s at %s: %v, which is none of the documented outcomes", in, n.ID(), err)
	return output{}, false
}

func (c *goClient) ask(ctx context.Context, n *node.Node, in input) (out output, err error) {
	var opts []node.WriteOption
	if in.condition {
		opts = append(opts, node.IfRevision(in.ifRevision))
	}
	switch in.operation {
	case put:
		out.revision, err = n.Put(ctx, in.key, []byte(in.value), opts...)
	case remove:
		out.revision, err = n.Delete(ctx, in.key, opts...)
	case get:
		var e fsm.Entry
		e, err = n.Get(ctx, in.key)
		out.revision, out.value = e.Revision, string(e.Value)
	}
	return out, err
}
