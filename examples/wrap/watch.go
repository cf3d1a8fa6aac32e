package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
)

// watched is all that a program needs to watch its state machine: it returns the
// machine for Raft, and the registry that makes watchers until ctx ends.
func watched(ctx context.Context, inner raft.FSM) (raft.FSM, *fanout.Registry, error) {
	ring, err1 := fanout.NewRing(fanout.RingOptions{})
	machine, err2 := fsm.Wrap(inner, changes, fsm.WrapOptions{Ring: ring})
	registry, err3 := fanout.NewRegistry(fanout.RegistryOptions{})
	dispatcher, err4 := fanout.NewDispatcher(ring, registry, fanout.DispatcherOptions{})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, nil, err
	}
	go dispatcher.Run(ctx)
	return machine, registry, nil
}

// changes says what an entry did: it set the count that Apply returned.
func changes(entry *raft.Log, count any) []fsm.Change {
	return []fsm.Change{{Op: fanout.Put, Key: string(entry.Data), Value: fmt.Append(nil, count)}}
}
