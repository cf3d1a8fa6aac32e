package node

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// TestStuckPipeline sends through a pipeline whose answers nobody takes any more, as
// Raft does when a follower has refused entries: the sender is not stuck for ever.
func TestStuckPipeline(t *testing.T) {
	t.Parallel()
	open := func() *raft.NetworkTransport {
		layer, err := newStreamLayer("127.0.0.1:0", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: layer, MaxPool: 1, Timeout: patience, Logger: hclog.NewNullLogger()})
		t.Cleanup(func() { transport.Close() })
		return transport
	}
	follower := open()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case rpc := <-follower.Consumer():
				rpc.Respond(&raft.AppendEntriesResponse{Success: false}, nil)
			case <-ctx.Done():
				return
			}
		}
	})
	defer func() { cancel(); wg.Wait() }()

	leader := &raftTransport{open(), 50 * time.Millisecond}
	p, err := leader.AppendEntriesPipeline("n2", follower.LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	err = within(t, "sending", func() error {
		for {
			if _, err := p.AppendEntries(&raft.AppendEntriesRequest{}, new(raft.AppendEntriesResponse)); err != nil {
				return err
			}
		}
	})
	if !errors.Is(err, raft.ErrPipelineShutdown) {
		t.Errorf("sending ended with %v", err)
	}
}

// TestTransportOfNodes: nodes use the transport that ends stuck pipelines, and it has
// what Raft looks for in one.
func TestTransportOfNodes(t *testing.T) {
	t.Parallel()
	config := single(t)
	config.Raft = "127.0.0.1:0"
	if err := config.check(); err != nil {
		t.Fatal(err)
	}
	var c consensus
	opened, err := c.listen(&config, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer c.stop()
	transport, ok := opened.(*raftTransport)
	if !ok || transport.patience != pipelinePatience {
		t.Fatalf("the transport is %+v", opened)
	}
	if _, ok := opened.(raft.WithPreVote); !ok {
		t.Error("elections are without a vote before the vote")
	}
	if _, ok := opened.(raft.WithClose); !ok {
		t.Error("it is not closed with Raft")
	}
}
