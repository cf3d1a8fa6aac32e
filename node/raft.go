package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// Raft's clockwork. Elections are random within one to two timeouts, so a dead
// leader is replaced within about half a second; the short commit timeout is
// what a follower's watchers lag behind when nothing else is written.
const (
	heartbeatTimeout   = 250 * time.Millisecond
	electionTimeout    = 250 * time.Millisecond
	leaderLeaseTimeout = 200 * time.Millisecond
	commitTimeout      = 4 * time.Millisecond
	maxAppendEntries   = 256
	snapshotsKept      = 2
	transportTimeout   = 2 * time.Second
	transportPool      = 3
)

// ErrCorrupt says that what is on disk cannot be read; the text says which part
// and what to do.
var ErrCorrupt = errors.New("node: corrupt data")

// consensus is Raft with what it stands on.
type consensus struct {
	raft      *raft.Raft
	leaders   chan bool // leadership gained and lost, in order; see raft.Config.NotifyCh
	transport raft.Transport
	closers   []io.Closer
}

// startRaft opens the stores, founds the cluster if there is nothing in them,
// and starts Raft on machine.
func startRaft(c *Config, dir *dataDir, machine raft.FSM) (_ *consensus, err error) {
	n := &consensus{leaders: make(chan bool, 64)}
	defer func() {
		if err != nil {
			n.stop()
		}
	}()
	logger := raftLogger(c.Logger)
	logs, stable, snapshots, err := n.stores(dir, logger)
	if err != nil {
		return nil, err
	}
	if n.transport, err = n.listen(c, logger); err != nil {
		return nil, err
	}
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(c.ID)
	conf.HeartbeatTimeout = heartbeatTimeout
	conf.ElectionTimeout = electionTimeout
	conf.LeaderLeaseTimeout = leaderLeaseTimeout
	conf.CommitTimeout = commitTimeout
	conf.MaxAppendEntries = maxAppendEntries
	conf.BatchApplyCh = true
	conf.NotifyCh = n.leaders
	conf.Logger = logger

	founded, err := raft.HasExistingState(logs, stable, snapshots)
	if err != nil {
		return nil, corrupt("the Raft log", dir, err)
	}
	if !founded {
		if err := raft.BootstrapCluster(conf, logs, stable, snapshots, n.transport, founders(c, n.transport)); err != nil {
			return nil, fmt.Errorf("node: found the cluster: %w", err)
		}
	}
	if n.raft, err = raft.NewRaft(conf, machine, logs, stable, snapshots, n.transport); err != nil {
		return nil, corrupt("the Raft log or a snapshot", dir, err)
	}
	return n, nil
}

// stores opens the log, the vote and the snapshots: on disk, or in memory if
// there is no directory.
func (n *consensus) stores(dir *dataDir, logger hclog.Logger) (raft.LogStore, raft.StableStore, raft.SnapshotStore, error) {
	if dir == nil {
		store := raft.NewInmemStore()
		return store, store, raft.NewInmemSnapshotStore(), nil
	}
	log, err := wal.Open(dir.raft(), wal.WithLogger(logger.Named("wal")))
	if err != nil {
		return nil, nil, nil, corrupt("the Raft log in "+dir.raft(), dir, err)
	}
	n.closers = append(n.closers, log)
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir.path, snapshotsKept, logger)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w %s: snapshots: %w", ErrDataDir, dir.path, err)
	}
	return log, log, snapshots, nil
}

func corrupt(what string, dir *dataDir, err error) error {
	if dir == nil {
		return fmt.Errorf("node: start Raft: %w", err)
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w %s: %s cannot be opened; check owner and permissions: %w", ErrDataDir, dir.path, what, err)
	}
	return fmt.Errorf("%w: %s cannot be read; nothing was changed; restore %s from a backup, or move it away and let the node join its cluster anew: %w", ErrCorrupt, what, dir.path, err)
}

// listen opens the transport. A node without a Raft address talks to itself
// only and needs no port.
func (n *consensus) listen(c *Config, logger hclog.Logger) (raft.Transport, error) {
	if c.Raft == "" {
		_, transport := raft.NewInmemTransport(raft.ServerAddress(c.ID))
		return transport, nil
	}
	var advertise net.Addr
	if own, ok := c.Peers[c.ID]; ok {
		advertise = nodeAddr(own)
	}
	layer, err := newStreamLayer(c.Raft, advertise)
	if err != nil {
		return nil, listenError("Raft", c.Raft, err)
	}
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  layer,
		MaxPool: transportPool,
		Timeout: transportTimeout,
		Logger:  logger.Named("transport"),
	})
	n.closers = append(n.closers, transport)
	return transport, nil
}

// founders is the first membership of a new cluster.
func founders(c *Config, self raft.Transport) raft.Configuration {
	if len(c.Peers) == 0 {
		return raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(c.ID), Address: self.LocalAddr()}}}
	}
	var conf raft.Configuration
	for _, id := range c.peerIDs() {
		conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(c.Peers[id])})
	}
	return conf
}

// stop shuts Raft down and closes what it stood on.
func (n *consensus) stop() error {
	var errs []error
	if n.raft != nil {
		errs = append(errs, n.raft.Shutdown().Error())
	}
	for _, c := range n.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
