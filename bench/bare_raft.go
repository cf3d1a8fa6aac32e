package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/watchcast/watchcast/fsm"
)

// bareRaft is Raft on a log with fsync and nothing on top: what a node can
// reach at best.
type bareRaft struct {
	raft *raft.Raft
	stop func()
}

// onStop registers what is to be ended, before all that was registered earlier.
func (b *bareRaft) onStop(end func()) {
	before := b.stop
	b.stop = func() { end(); before() }
}

// startBareRaft starts it alone.
func startBareRaft(dir string) (*bareRaft, error) {
	_, transport := raft.NewInmemTransport("bare")
	servers := raft.Configuration{Servers: []raft.Server{{ID: "bare", Address: transport.LocalAddr()}}}
	b, err := startBareMember(dir, servers.Servers[0], servers, transport)
	if err != nil {
		return nil, err
	}
	if err := b.awaitLeader(b); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

// awaitLeader waits until one of the members leads, whose Raft b then takes.
func (b *bareRaft) awaitLeader(members ...*bareRaft) error {
	timeout := time.After(stuck)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		for _, m := range members {
			if m.raft.State() == raft.Leader {
				b.raft = m.raft
				return nil
			}
		}
		select {
		case <-look.C:
		case <-timeout:
			return fmt.Errorf("no leader of bare raft within %v", stuck)
		}
	}
}

// startBareMember starts one with the settings of a node (node/raft.go), as the member
// self of servers.
func startBareMember(dir string, self raft.Server, servers raft.Configuration, transport raft.Transport) (_ *bareRaft, err error) {
	b := &bareRaft{stop: func() {}}
	defer func() {
		if err != nil {
			b.stop()
			err = fmt.Errorf("start bare raft: %w", err)
		}
	}()
	data, err := os.MkdirTemp(dir, "watchcast-bench-raft-")
	if err != nil {
		return nil, err
	}
	b.onStop(func() { os.RemoveAll(data) })
	logs := filepath.Join(data, "raft")
	if err := os.Mkdir(logs, 0o750); err != nil {
		return nil, err
	}
	log, err := wal.Open(logs, wal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		return nil, err
	}
	b.onStop(func() { log.Close() })
	cached, err := raft.NewLogCache(2048, log)
	if err != nil {
		return nil, err
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(data, 2, hclog.NewNullLogger())
	if err != nil {
		return nil, err
	}
	conf := raft.DefaultConfig()
	conf.LocalID = self.ID
	conf.HeartbeatTimeout = 250 * time.Millisecond
	conf.ElectionTimeout = 250 * time.Millisecond
	conf.LeaderLeaseTimeout = 200 * time.Millisecond
	if len(servers.Servers) > 1 {
		conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = trioElection, trioElection, trioElection*4/5
	}
	conf.CommitTimeout = 4 * time.Millisecond
	conf.MaxAppendEntries = 256
	conf.BatchApplyCh = true
	conf.Logger = hclog.NewNullLogger()
	if err := raft.BootstrapCluster(conf, log, log, snapshots, transport, servers); err != nil {
		return nil, err
	}
	if b.raft, err = raft.NewRaft(conf, forgetful{}, cached, log, snapshots, transport); err != nil {
		return nil, err
	}
	b.onStop(func() { b.raft.Shutdown().Error() })
	return b, nil
}

// putter proposes what a node proposes for a put, encoded beforehand.
func (b *bareRaft) putter() func(key int) error {
	commands := make([][]byte, writers*keysPerWriter)
	for i := range commands {
		commands[i] = fsm.Command{Op: fsm.CommandPut, Key: key(i), Value: make([]byte, valueBytes)}.Append(nil)
	}
	return func(key int) error { return b.raft.Apply(commands[key], 0).Error() }
}

// forgetful is a state machine without state, which takes whole batches.
type forgetful struct{}

func (forgetful) Apply(*raft.Log) any                  { return nil }
func (forgetful) ApplyBatch(logs []*raft.Log) []any    { return make([]any, len(logs)) }
func (forgetful) Snapshot() (raft.FSMSnapshot, error)  { return forgetful{}, nil }
func (forgetful) Restore(r io.ReadCloser) error        { return r.Close() }
func (forgetful) Persist(sink raft.SnapshotSink) error { return sink.Close() }
func (forgetful) Release()                             {}
