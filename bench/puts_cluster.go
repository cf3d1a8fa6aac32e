package main

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// putsCluster is the puts a second that three nodes do for 64 goroutines in the leader's
// process, each put on the disks of two when it returns, as a part of what bare Raft does
// with three members.
var putsCluster = &measure{
	name:    "puts-cluster",
	figures: []figure{{"puts-cluster", "ratio", atLeast(0.8)}},
	full:    size{samples: 11, duration: 700 * time.Millisecond},
	tiny:    size{samples: 2, duration: 50 * time.Millisecond},
	run: func(ctx context.Context, e env, s size) ([]finding, error) {
		c, err := startTrio(ctx, e.dir)
		if err != nil {
			return nil, err
		}
		defer c.stop()
		bare, err := startBareTrio(e.dir)
		if err != nil {
			return nil, err
		}
		defer bare.stop()
		return putsBeside(ctx, s, "puts/s, three nodes", putter(c.leader), "puts/s, three of bare raft", bare.putter())
	},
}

// startBareTrio starts three members that talk over TCP. What it returns is the one that
// leads; its stop stops all.
func startBareTrio(dir string) (_ *bareRaft, err error) {
	addrs, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	var servers raft.Configuration
	for _, addr := range addrs {
		servers.Servers = append(servers.Servers, raft.Server{ID: raft.ServerID(addr), Address: raft.ServerAddress(addr)})
	}
	trio := &bareRaft{stop: func() {}}
	defer func() {
		if err != nil {
			trio.stop()
		}
	}()
	var members []*bareRaft
	for _, self := range servers.Servers {
		transport, err := raft.NewTCPTransportWithConfig(string(self.Address), nil, &raft.NetworkTransportConfig{
			MaxPool: 3, MaxRPCsInFlight: 130, Timeout: 2 * time.Second, Logger: hclog.NewNullLogger(),
		})
		if err != nil {
			return nil, err
		}
		trio.onStop(func() { transport.Close() })
		m, err := startBareMember(dir, self, servers, transport)
		if err != nil {
			return nil, err
		}
		trio.onStop(m.stop)
		members = append(members, m)
	}
	return trio, trio.awaitLeader(members...)
}
