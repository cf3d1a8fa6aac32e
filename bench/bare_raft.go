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

// startBareRaft starts it with the settings of a node (node/raft.go).
func startBareRaft(dir string) (_ *bareRaft, err error) {
	b := &bareRaft{stop: func() {}}
	onStop := func(end func()) {
		before := b.stop
		b.stop = func() { end(); before() }
	}
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
	onStop(func() { os.RemoveAll(data) })
	logs := filepath.Join(data, "raft")
	if err := os.Mkdir(logs, 0o750); err != nil {
		return nil, err
	}
	log, err := wal.Open(logs, wal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		return nil, err
	}
	onStop(func() { log.Close() })
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(data, 2, hclog.NewNullLogger())
	if err != nil {
		return nil, err
	}
	leads := make(chan bool, 64)
	conf := raft.DefaultConfig()
	conf.LocalID = "bare"
	conf.HeartbeatTimeout = 250 * time.Millisecond
	conf.ElectionTimeout = 250 * time.Millisecond
	conf.LeaderLeaseTimeout = 200 * time.Millisecond
	conf.CommitTimeout = 4 * time.Millisecond
	conf.MaxAppendEntries = 256
	conf.BatchApplyCh = true
	conf.NotifyCh = leads
	conf.Logger = hclog.NewNullLogger()
	_, transport := raft.NewInmemTransport("bare")
	servers := raft.Configuration{Servers: []raft.Server{{ID: conf.LocalID, Address: transport.LocalAddr()}}}
	if err := raft.BootstrapCluster(conf, log, log, snapshots, transport, servers); err != nil {
		return nil, err
	}
	if b.raft, err = raft.NewRaft(conf, forgetful{}, log, log, snapshots, transport); err != nil {
		return nil, err
	}
	onStop(func() { b.raft.Shutdown().Error() })
	select {
	case <-leads:
		return b, nil
	case <-time.After(stuck):
		return nil, fmt.Errorf("no leader within %v", stuck)
	}
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
