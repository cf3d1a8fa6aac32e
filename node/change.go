package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/hashicorp/raft"
)

// change is a change of the membership as a node asks another one for it.
type change struct {
	verb    string
	id      string
	address string // of verbAdd
}

const (
	verbAdd     = "add"
	verbPromote = "promote"
	verbDemote  = "demote"
	verbRemove  = "remove"
)

// call returns method, path and body of the change over HTTP.
func (c change) call() (method, path string, body any) {
	switch c.verb {
	case verbAdd:
		return http.MethodPost, membersPath, newMember{ID: c.id, Raft: c.address}
	case verbRemove:
		return http.MethodDelete, membersPath + "/" + url.PathEscape(c.id), nil
	}
	return http.MethodPost, membersPath + "/" + url.PathEscape(c.id) + "/" + c.verb, nil
}

// carryOut makes the change here, on the leader.
func (n *Node) carryOut(ctx context.Context, c change) error {
	switch c.verb {
	case verbAdd:
		return n.AddNonvoter(ctx, c.id, c.address)
	case verbPromote:
		return n.Promote(ctx, c.id)
	case verbDemote:
		return n.Demote(ctx, c.id)
	}
	return n.Remove(ctx, c.id)
}

// ask has a change made by whoever leads, and repeats it until ctx ends while that
// is not known or changes. A change that is made already does no harm, but one that
// was made by an attempt whose answer was lost may look as if it had been refused;
// see [Node.Leave].
func (n *Node) ask(ctx context.Context, c change) error {
	for {
		err := n.askOnce(ctx, c)
		if err == nil && c.verb == verbRemove && c.id == n.config.ID {
			n.left()
		}
		if err == nil || !again(err) || ctx.Err() != nil || n.closing() {
			return err
		}
		pause(ctx, leaderPoll)
	}
}

func (n *Node) askOnce(ctx context.Context, c change) error {
	_, err := n.lead(ctx)
	if err == nil {
		return n.carryOut(ctx, c)
	}
	if !errors.Is(err, ErrNotLeader) {
		return err
	}
	address, id := n.consensus.raft.LeaderWithID()
	if address == "" || id == raft.ServerID(n.config.ID) {
		return ErrNotLeader // it has changed meanwhile
	}
	method, path, body := c.call()
	err = n.peers.call(ctx, string(address), method, path, body, nil)
	if remote := (*remoteError)(nil); err != nil && !errors.As(err, &remote) {
		return fmt.Errorf("%w: %s was asked at %s: %w", ErrUnknownOutcome, id, address, err)
	}
	return err
}
