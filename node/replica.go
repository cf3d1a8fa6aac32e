package node

import (
	"context"

	"github.com/watchcast/watchcast/nats"
)

// startReplica answers stale reads over NATS until the node closes.
func (n *Node) startReplica() error {
	replica, err := nats.StartReplica(replica{lister{n.machine, nil}, n}, nats.ServiceOptions{
		Conn:     n.serviceConn,
		Subjects: n.config.Subjects,
		Version:  n.config.Version,
		Metadata: map[string]string{"node": n.config.ID},
		Logger:   n.log,
	})
	if err != nil {
		return err
	}
	n.onClose("replica", func() error { replica.Stop(); return nil })
	return nil
}

// replica is the view of the node that stale reads have.
type replica struct {
	lister
	node *Node
}

func (r replica) Await(ctx context.Context, revision uint64) error {
	return r.node.machine.Await(ctx, revision)
}

func (r replica) Get(key string) (nats.Entry, error) {
	e, err := r.node.machine.Get(key)
	return nats.Entry{Value: e.Value, Revision: e.Revision}, serviceError(err)
}
