package node

import "github.com/hashicorp/raft"

// pipelineRoom is how many requests Raft's pipeline has room for. No more than two
// are under way all the same; see pipeline.
const pipelineRoom = 130

// AppendEntriesPipeline implements [raft.Transport].
func (t ackTransport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	return &pipeline{AppendPipeline: p}, nil
}

// pipeline has two requests under way at most, as Raft's own by default, but with
// room for the answers. Raft stops taking answers when another node refuses an entry
// or follows a later term, and may send a few times more before it looks. Its own
// pipeline has no room for those answers: the sender waits for ever, the other node
// never gets another entry, and a shutdown never ends (hashicorp/raft issue 612, in
// v1.8.0 still).
type pipeline struct {
	raft.AppendPipeline
	last raft.AppendFuture // sent, and maybe not answered
}

// AppendEntries implements [raft.AppendPipeline]. It sends, and then waits for the
// answer to the request before, which comes or fails within the transport's timeout.
// One goroutine calls it.
func (p *pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	f, err := p.AppendPipeline.AppendEntries(args, resp)
	if err != nil {
		return nil, err
	}
	if p.last != nil {
		p.last.Error() // whoever takes the answer sees it, too
	}
	p.last = f
	return f, nil
}
