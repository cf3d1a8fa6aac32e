package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// The rest of Raft's clockwork. The short commit timeout is what a follower's
// watchers lag behind when nothing else is written.
const (
	commitTimeout    = 4 * time.Millisecond
	maxAppendEntries = 256
	snapshotsKept    = 2
	transportTimeout = 2 * time.Second
	transportPool    = 3
)

// ErrCorrupt says that what is on disk cannot be read; the text says which part
// and what to do.
var ErrCorrupt = errors.New("node: corrupt data")

// consensus is Raft with what it stands on.
type consensus struct {
	logs      *coveredLog
	stable    raft.StableStore
	snapshots *standing
	known     *knownSnapshots // what snapshots stands on
	last      uint64          // newest index in log and snapshots when they were opened
	closers   []io.Closer

	joining bool // started to join a cluster, and not known to be a member yet

	// Both are set before start. storageFailed must wait for nothing.
	storageFailed func(error)
	acquainted    *acquaintances

	// restoring is held while Raft restores a backup, which takes no longer than to read
	// it in and to lose leadership: if Raft was ended meanwhile it would not answer.
	restoring sync.Mutex

	raft    *raft.Raft
	calls   underWay
	acks    *acks
	refused chan struct{}      // one slot; see [ackTransport]
	secure  *raftTLS           // nil without RaftTLS
	port    *raftPort          // nil without a Raft address
	layer   *streamLayer       // nil without a Raft address
	inward  *incoming          // nil without a Raft address
	address raft.ServerAddress // where the others reach this node
	leaders chan bool          // leadership gained and lost, in order; see raft.Config.NotifyCh
}

// openStores opens log, vote and snapshots: on disk, or in memory if there is
// no directory.
func openStores(c *Config, dir *dataDir) (_ *consensus, err error) {
	n := &consensus{leaders: make(chan bool, 64), acks: newAcks(), refused: make(chan struct{}, 1)}
	if dir == nil {
		store := raft.NewInmemStore()
		if n.known, err = newKnownSnapshots(&memSnapshots{}, nil); err != nil {
			return nil, err
		}
		n.stable, n.snapshots = store, newStanding(n.known, 1, func(_ string, do func() error) error { return do() })
		n.logs = &coveredLog{LogStore: store, snapshots: n.snapshots}
		return n, nil
	}
	logger := raftLogger(c.Logger)
	store := &storage{fail: func(err error) { n.storageFailed(err) }}
	log, meta, err := openLog(dir.raft(), logger.Named("wal"), store.noSegment)
	if err != nil {
		return nil, corrupt("the Raft log in "+dir.raft(), dir, err)
	}
	store.WAL = log
	n.closers = append(n.closers, log, meta)
	n.stable = store
	defer func() {
		if err != nil {
			err = errors.Join(err, n.stop())
		}
	}()
	recent, err := newRecentLog(store)
	if err != nil {
		return nil, err
	}
	files, err := openSnapshots(dir, logger)
	if err != nil {
		if cause := probe(dir.snapshots()); cause != nil {
			err = cause // which Raft's error does not wrap
		}
		return nil, fmt.Errorf("%w %s: snapshots cannot be stored; %s: %w", ErrDataDir, dir.path, remedy(err), err)
	}
	names, err := files.names()
	if err == nil {
		n.known, err = newKnownSnapshots(files, names)
	}
	if err != nil {
		return nil, corrupt("the snapshots", dir, err)
	}
	n.snapshots = newStanding(n.known, snapshotsKept, store.write)
	n.logs = &coveredLog{LogStore: recent, snapshots: n.snapshots}
	if n.last, err = log.LastIndex(); err != nil {
		return nil, corrupt("the Raft log in "+dir.raft(), dir, err)
	}
	list, err := n.snapshots.List()
	if err != nil {
		return nil, corrupt("the snapshots", dir, err)
	}
	if len(list) > 0 { // the newest one first
		if err := dropOldLog(log, n.snapshots, list[0]); err != nil {
			return nil, corrupt("the Raft log in "+dir.raft(), dir, err)
		}
	}
	for _, s := range list {
		n.last = max(n.last, s.Index)
	}
	return n, nil
}

// start founds the cluster if there is nothing in the stores yet and the node is
// not to join one, and starts Raft on machine.
func (n *consensus) start(c *Config, dir *dataDir, machine raft.FSM) error {
	logger := raftLogger(c.Logger)
	transport, err := n.listen(c, logger)
	if err != nil {
		return err
	}
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(c.ID)
	// An election begins at random within one to two timeouts, so with 250 ms a
	// dead leader is replaced within about half a second.
	conf.HeartbeatTimeout = c.ElectionTimeout
	conf.ElectionTimeout = c.ElectionTimeout
	conf.LeaderLeaseTimeout = c.ElectionTimeout * 4 / 5
	conf.CommitTimeout = commitTimeout
	conf.MaxAppendEntries = maxAppendEntries
	conf.BatchApplyCh = true
	conf.NotifyCh = n.leaders
	conf.ShutdownOnRemove = false // a node that is no member goes on with what it has
	conf.Logger = logger

	founded, err := raft.HasExistingState(n.logs, n.stable, n.snapshots)
	if err != nil {
		return corrupt("the Raft log", dir, err)
	}
	if founded && n.last == 0 {
		if founded, err = n.forgetFounding(); err != nil {
			return corrupt("the Raft log", dir, err)
		}
	}
	n.address = transport.LocalAddr()
	n.joining = c.Join != "" && (!founded || dir.joining())
	if !founded && c.Join == "" {
		if dir.joining() {
			return fmt.Errorf("%w %s: this node was about to join a cluster; give Join again, or delete %s to found one of its own", ErrDataDir, dir.path, dir.join())
		}
		if err := raft.BootstrapCluster(conf, n.logs, n.stable, n.snapshots, transport, founders(c, transport)); err != nil {
			return fmt.Errorf("node: found the cluster: %w", err)
		}
	}
	if founded && n.last == 0 && !n.joining {
		return corrupt("the Raft log", dir, errors.New("it is empty, and the node has voted"))
	}
	err = guard("log entry", func() (err error) { // Raft panics on one that it cannot read
		within := &reachable{standing: n.snapshots, known: n.known, logs: n.logs}
		n.raft, err = raft.NewRaft(conf, machine, n.logs, abstaining{n.stable, n.logs}, within, transport)
		within.started.Store(true)
		return err
	})
	if err != nil {
		if _, _, damage := n.damage(); damage != nil {
			err = fmt.Errorf("%w: %w", err, damage)
		}
		return corrupt("the Raft log or a snapshot", dir, err)
	}
	if n.inward != nil {
		n.inward.raft.Store(n.raft)
	}
	if !n.joining {
		n.takePart()
	}
	return nil
}

// takePart has Raft hear other nodes. One that joins hears nobody before it is let in: a
// voter that was emptied would vote, and store what is acknowledged, while it is refused.
func (n *consensus) takePart() {
	if n.port != nil {
		n.port.raft.open()
	}
}

// forgetFounding undoes the founding of a cluster that a crash cut short, and reports
// whether this node has done more than that. Raft stores the first term before the first
// entry. In that term nobody votes, and no other entry is stored, so nothing is lost that
// anybody counts on.
func (n *consensus) forgetFounding() (more bool, err error) {
	term, err := n.stable.GetUint64([]byte(currentTerm))
	if err != nil || term != 1 {
		return true, err
	}
	return false, n.stable.SetUint64([]byte(currentTerm), 0)
}

func corrupt(what string, dir *dataDir, err error) error {
	if dir == nil {
		return fmt.Errorf("node: start Raft: %w", err)
	}
	switch {
	case full(err):
		return fmt.Errorf("%w %s: %s cannot be written; %s: %w", ErrDataDir, dir.path, what, remedy(err), err)
	case readOnly(err):
		return fmt.Errorf("%w %s: %s cannot be opened; %s: %w", ErrDataDir, dir.path, what, remedy(err), err)
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
	if own := c.raftAdvertise(); own != "" {
		advertise = nodeAddr(own)
	}
	if c.RaftTLS.on() {
		var err error
		if n.secure, err = newRaftTLS(c.RaftTLS, c.raftAdvertise(), c.Logger.With("node", c.ID)); err != nil {
			return nil, err
		}
	}
	port, err := newRaftPort(c.Raft, n.secure, newDoor("Raft", c.shares.raft, c.Logger.With("node", c.ID)))
	if err != nil {
		return nil, listenError("Raft", c.Raft, err)
	}
	n.port = port
	n.layer = newStreamLayer(port.raft, advertise, n.secure, n.acquainted)
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:          n.layer,
		MaxPool:         transportPool,
		MaxRPCsInFlight: pipelineRoom,
		Timeout:         transportTimeout,
		Logger:          logger.Named("transport"),
	})
	n.inward = newIncoming(n.layer, n.logs, transport.Consumer())
	n.closers = append(n.closers, transport, n.inward, port)
	return ackTransport{transport, n.acks, n.inward, n.refused}, nil
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

// shutdown ends Raft once it has answered what is under way.
func (n *consensus) shutdown() error {
	n.calls.end()
	n.restoring.Lock()
	defer n.restoring.Unlock()
	ended := n.raft.Shutdown()
	if n.layer != nil {
		n.layer.hangUp()
	}
	return ended.Error()
}

// barrier returns when everything that was committed before is applied here, or why this
// node does not lead.
func (n *consensus) barrier() error {
	if _, ok := n.calls.enter(); !ok {
		return raft.ErrRaftShutdown
	}
	defer n.calls.leave()
	return n.raft.Barrier(0).Error()
}

// verify has Raft ask a majority whether this node leads.
func (n *consensus) verify() error {
	if _, ok := n.calls.enter(); !ok {
		return raft.ErrRaftShutdown
	}
	defer n.calls.leave()
	return n.raft.VerifyLeader().Error()
}

// stop closes what Raft stood on.
func (n *consensus) stop() error {
	var errs []error
	for _, c := range n.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
