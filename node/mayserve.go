package node

import (
	"context"
	"errors"
	"fmt"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/watchcast/watchcast/nats"
)

// ErrNotAllowed says that a broker of [Config.NATSURL] does not let the node do what it
// is there for; the text names the subject.
var ErrNotAllowed = errors.New("node: the broker does not allow it")

// mayServe returns an error if the user of conn may not subscribe where requests go,
// so that a node that could answer nobody does not start as if all were well. It asks
// for keys that nobody has.
func (n *Node) mayServe(ctx context.Context, conn *natsgo.Conn) error {
	if n.config.NATSURL == "" {
		return nil
	}
	nobody := nuid.Next()
	s := n.config.Subjects
	subjects := []string{s.Beacon(), s.Ack(), s.Reset()}
	for _, op := range []string{"put", "delete", "get", "stale.get"} {
		subjects = append(subjects, s.Request(op, nobody))
	}
	for _, subject := range subjects {
		sub, err := conn.SubscribeSync(subject)
		if err != nil {
			return fmt.Errorf("node: subscribe: %w", err)
		}
		defer sub.Unsubscribe() // fails where the broker refused it
	}
	ctx, cancel := context.WithTimeout(ctx, brokerStart) // the library wants a deadline, and ctx may have none
	defer cancel()
	if err := conn.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("node: the broker at %s does not answer: %w", nats.Redact(n.config.NATSURL), err)
	}
	if err := conn.LastError(); errors.Is(err, natsgo.ErrPermissionViolation) {
		return fmt.Errorf("%w: at %s the user of the node's connection as %s may not hear requests, or beacons; allow it to subscribe on %s, %s and $SRV.>: %w",
			ErrNotAllowed, nats.Redact(n.config.NATSURL), userService, s.AnsweredByNodes()[0], s.PublishedByNodes()[1], err)
	}
	return nil
}
