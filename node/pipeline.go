package node

import (
	"time"

	"github.com/hashicorp/raft"
)

// pipelinePatience is how long one request may wait for its place in a pipeline. The
// one before it is answered, or has failed, within transportTimeout.
const pipelinePatience = transportTimeout + time.Second

// raftTransport is Raft's own, and ends pipelines that are stuck.
//
// Raft v1.8.0 replicates through a pipeline with two goroutines: one sends requests,
// one takes the answers (pipelineReplicate, pipelineDecode). When the second ends,
// because a follower refused entries or knows a newer term, the first chooses at
// random between noticing that and sending more; having sent two more, it waits for
// ever for somebody to take the answers. A leader then sends that follower nothing but
// heartbeats any more, and cannot be shut down.
type raftTransport struct {
	*raft.NetworkTransport
	patience time.Duration
}

// AppendEntriesPipeline implements [raft.Transport].
func (t *raftTransport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	return &pipeline{p, t.patience}, nil
}

type pipeline struct {
	raft.AppendPipeline
	patience time.Duration
}

// AppendEntries implements [raft.AppendPipeline]. Raft begins a new pipeline when it
// fails.
func (p *pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	stuck := time.AfterFunc(p.patience, func() { p.Close() }) // has no error to return
	defer stuck.Stop()
	return p.AppendPipeline.AppendEntries(args, resp)
}
