// Command wrap watches a state machine that knows nothing of Watchcast, under a
// plain hashicorp/raft: it counts a few names and prints what a watcher receives.
// Everything is in memory.
//
//	go run -C examples ./wrap
//
// The state machine is in counters.go, the watch is in watch.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"

	"github.com/hashicorp/raft"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	machine, registry, err := watched(ctx, newCounters())
	if err != nil {
		return err
	}
	node, err := startRaft(machine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Shutdown().Error()) }()

	w, err := registry.Watch(ctx, "fruit.*")
	if err != nil {
		return err
	}
	defer w.Stop()
	names := []string{"fruit.apple", "fruit.pear", "vegetable.leek", "fruit.apple"}
	for _, name := range names {
		if err := node.Apply([]byte(name), 0).Error(); err != nil {
			return err
		}
	}
	for range 3 { // of the names are fruit
		e, err := w.Next(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("%s %s %s at revision %d\n", e.Op, e.Key, e.Value, e.Revision)
	}
	return nil
}

// startRaft returns a cluster of one that leads.
func startRaft(machine raft.FSM) (*raft.Raft, error) {
	config := raft.DefaultConfig()
	config.LocalID = "n1"
	config.LogOutput = io.Discard
	addr, transport := raft.NewInmemTransport("")
	store, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	servers := raft.Configuration{Servers: []raft.Server{{ID: config.LocalID, Address: addr}}}
	if err := raft.BootstrapCluster(config, store, store, snapshots, transport, servers); err != nil {
		return nil, err
	}
	node, err := raft.NewRaft(config, machine, store, store, snapshots, transport)
	if err != nil {
		return nil, err
	}
	<-node.LeaderCh() // it is the only one
	return node, nil
}
