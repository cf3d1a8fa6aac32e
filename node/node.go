package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fsm"
	"github.com/watchcast/watchcast/nats"
)

// Node is a running node. All its methods may be called from any goroutine.
type Node struct {
	config Config
	log    *slog.Logger

	dir       *dataDir // nil in memory
	announced announced
	ring      *fanout.Ring
	registry  *fanout.Registry
	dispatch  *dispatchMetrics // nil unless asked for
	machine   *fsm.FSM
	broker    *broker
	consensus *consensus
	web       *web
	reads     *readGate
	proving   sync.Mutex // held by proveLeadership and by configure
	gate      writeGate
	restoring sync.Mutex // held by Restore; never waited for
	failure   *failure
	identity  *identity
	repeats   *repeats // of what it says of itself

	publisherConn *natsgo.Conn
	serviceConn   *natsgo.Conn
	hearing       *nats.Hearing  // what it has received of the leader's events
	met           meetings       // while it has not heard a beacon that counts
	before        uint64         // revision up to which everything had been published when it started, as far as it knew
	audience      *nats.Audience // what the others have
	compaction    *compaction
	publishing    atomic.Pointer[nats.Publisher] // while it publishes
	published     atomic.Uint64                  // highest revision that a leader said it has published

	epochMu      sync.Mutex
	epoch        *epoch        // while this node leads
	epochChanged chan struct{} // closed and replaced when it changes

	peers      *peers
	roster     *roster
	configured chan struct{}          // rung when a change of the members is committed
	changes    chan struct{}          // full while this node makes a change of the members
	joining    atomic.Bool            // until a node that joins is the member that it wants to be
	taken      atomic.Bool            // while it joins: the cluster has taken it in
	removed    atomic.Bool            // was a member, and is none any more
	sought     atomic.Pointer[string] // where the leader looks for this node, if that is elsewhere
	removalMu  sync.Mutex             // held while removed is changed
	disowned   bool                   // the leader has said so

	closeMu sync.RWMutex    // held for reading while a write is counted in waits
	leaving context.Context // ends when the node begins to close
	leave   context.CancelFunc
	closed  chan struct{}
	err     error // of Close, once closed

	waits sync.WaitGroup // writes under way
	parts []part         // what Close ends, the last one first
}

// part is something that was started and has to be ended.
type part struct {
	name string
	end  func() error
}

const recordPeriod = time.Second // how often the announced revision is recorded

// Start starts a node and returns when all its parts run: its broker accepts
// clients, and it votes. It does not wait for a leader; reads and writes do, or
// see [Node.WaitReady].
//
// With [Config.Join] and an empty data directory it returns when the cluster has
// taken the node in, which it tries for 30 s while nobody there answers or leads.
// The node has no vote then; it becomes a voter by itself when it has caught up. With
// data of that cluster Join does nothing.
//
// ctx bounds the start, not the node's life; the node
// runs until [Node.Close].
//
// Errors wrap [ErrConfig], [ErrOpenFiles], [ErrDataDir], [ErrCorrupt], [ErrListen], [ErrNotAllowed] or [ErrJoin], the
// cause of ctx, or, where a broker of NATSURL is not reached or does not let the node in, what package
// nats.go says of it (ErrNoServers, ErrAuthorization); what had been started is ended again, which
// takes as long as [Node.Close] where the node leads already. A node that runs may stop by itself; see
// [Node.Failed].
func Start(ctx context.Context, c Config) (_ *Node, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	n := &Node{
		config:       c,
		log:          c.Logger.With("node", c.ID),
		epochChanged: make(chan struct{}),
		closed:       make(chan struct{}),
		roster:       newRoster(),
		configured:   make(chan struct{}, 1),
		changes:      make(chan struct{}, 1),
		failure:      newFailure(),
		repeats:      newRepeats(),
		audience:     nats.NewAudience(c.ID),
	}
	n.leaving, n.leave = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			n.leave()
			err = errors.Join(err, n.end()) // it may lead already
		}
	}()
	for _, start := range []func() error{n.openData, n.openStores, n.startFanout, func() error { return n.startBroker(ctx) }, n.startConsensus, n.startWeb,
		func() error { return n.join(ctx) }} {
		if err := context.Cause(ctx); err != nil {
			return nil, fmt.Errorf("node: start: %w", err)
		}
		if err := start(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// onClose registers what ends a part that was started.
func (n *Node) onClose(name string, end func() error) {
	n.parts = append(n.parts, part{name, end})
}

// spawn runs a goroutine of the node's until Close reaches this part.
func (n *Node) spawn(name string, run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { run(ctx) })
	n.onClose(name, func() error {
		cancel()
		wg.Wait()
		return nil
	})
}

func (n *Node) openData() error {
	if n.config.InMemory {
		var err error
		n.identity, err = openIdentity("", n.config.ID)
		return err
	}
	dir, err := openDataDir(n.config.DataDir)
	if err != nil {
		return err
	}
	n.dir = dir
	n.onClose("data directory", dir.close)
	if n.identity, err = openIdentity(dir.identity(), n.config.ID); err != nil {
		return err
	}
	if err := n.announced.load(dir.announced()); err != nil {
		n.log.Warn("do not know how far events were announced; watchers will be told to read again", "error", err)
	}
	n.onClose("record", func() error { return n.announced.save(dir.announced(), true) })
	n.spawn("recorder", n.record)
	return nil
}

// record writes down now and then how far events were announced.
func (n *Node) record(ctx context.Context) {
	tick := time.NewTicker(recordPeriod)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			n.saveAnnounced()
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) saveAnnounced() {
	if n.dir == nil {
		return
	}
	if err := n.announced.save(n.dir.announced(), false); err != nil {
		n.repeats.log(n.log, slog.LevelWarn, "record", "after a crash more events than necessary will repeat", "error", err)
	}
}

func (n *Node) openStores() (err error) {
	if n.consensus, err = openStores(&n.config, n.dir); err != nil {
		return err
	}
	n.consensus.storageFailed = func(err error) { n.fail(storageError(n.dir, err)) }
	n.onClose("raft", n.consensus.stop)
	// The log takes a damaged end for a write that a crash cut short, and drops
	// it. Where nobody else could have announced more than is here, it was not.
	known, _ := n.announced.get()
	if last := n.consensus.last; n.config.Raft == "" && known.Revision > last {
		return fmt.Errorf("%w: the Raft log in %s ends at %d, and changes up to %d were announced; restore %s from a backup, or delete %s to go on without them",
			ErrCorrupt, n.dir.raft(), last, known.Revision, n.dir.path, n.dir.announced())
	}
	return nil
}

func (n *Node) startFanout() (err error) {
	if n.ring, err = fanout.NewRing(n.config.Ring); err != nil {
		return badOption(err)
	}
	watchers := n.config.Watchers
	watchers.Snapshot = func(f fanout.Filter) (fanout.Snapshot, error) { return n.machine.State(f) }
	if n.registry, err = fanout.NewRegistry(watchers); err != nil {
		return badOption(err)
	}
	// What the leader had published may be more than this node has stored; that
	// is news to its watchers.
	known, _ := n.announced.get()
	history := min(known.Revision, n.consensus.last)
	options := fanout.DispatcherOptions{After: history, ProgressInterval: n.config.ProgressInterval, Logger: n.log}
	if n.config.DetailedMetrics {
		n.dispatch = newDispatchMetrics(n.config.ID)
		options.Observe = n.dispatch.observe
	}
	dispatcher, err := fanout.NewDispatcher(n.ring, n.registry, options)
	if err != nil {
		return badOption(err)
	}
	n.machine = fsm.New(fsm.Options{Ring: n.ring, Logger: n.log})
	n.spawn("dispatcher", func(ctx context.Context) { dispatcher.Run(ctx) }) // its only error is that it was stopped
	return nil
}

func (n *Node) startBroker(ctx context.Context) (err error) {
	if n.broker, err = startBroker(&n.config); err != nil {
		return err
	}
	n.onClose("broker", func() error { n.broker.stop(); return nil })
	connect := func(user string, options ...natsgo.Option) (*natsgo.Conn, error) {
		conn, err := n.broker.connect(user, "watchcast "+n.config.ID+" "+user, n.log, append(options, n.endsWhenClosed(user)...)...)
		if err == nil {
			n.onClose(user, func() error { conn.Close(); return nil })
		}
		return conn, err
	}
	if n.publisherConn, err = connect(userPublisher, nats.PublisherConn()...); err != nil {
		return err
	}
	if n.serviceConn, err = connect(userService, nats.ServiceConn()...); err != nil {
		return err
	}
	if n.broker.server != nil {
		n.spawn("slow clients", func(ctx context.Context) { n.broker.cutSlow(ctx, n.log, n.publisherConn, n.serviceConn) })
	}
	return n.mayServe(ctx, n.serviceConn)
}

func (n *Node) startConsensus() error {
	n.consensus.acquainted = n.acquaint()
	n.compaction = newCompaction(machine{&learning{FSM: n.machine, learn: n.learnCluster}, n.configured}, n.config.MaxLogBytes, n.machine.Revision, n.over, n.recorded, n.consensus.snapshots.restoring)
	if err := n.consensus.start(&n.config, n.dir, n.compaction); err != nil {
		return err
	}
	n.consensus.acquainted.setMembers(n.servers, func() bool { return n.Leader() != "" })
	n.onClose("raft", n.consensus.shutdown)
	n.joining.Store(n.consensus.joining)
	n.peers = newPeers(n.consensus.secure)
	n.startPeers()
	n.roster.set(n.membership())
	if err := n.startHearing(); err != nil {
		return err
	}
	n.spawn("removal", n.watchRemoval)
	n.spawn("members", n.followMembers)
	n.spawn("failure", n.obeyFailure)
	n.spawn("compaction", n.compact)
	n.reads = newReadGate(n.proveLeadership)
	n.spawn("reads", n.reads.run)
	if err := n.startReplica(); err != nil {
		return err
	}
	n.onClose("transfer", n.transferLeadership)
	n.spawn("leadership", n.followLeadership)
	n.onClose("writes", func() error { n.waits.Wait(); return nil })
	return nil
}

func (n *Node) startWeb() (err error) {
	if n.config.HTTP == Off {
		return nil
	}
	if n.web, err = startWeb(n); err != nil {
		return err
	}
	n.onClose("http", n.web.stop)
	return nil
}

// Close ends the node: it answers the writes under way, publishes what is
// committed, hands leadership over, records how far it announced, and ends its
// goroutines. It takes a few seconds at most, ten and a bit where the others answer and store
// nothing. If the others are gone, or store nothing, and a write is under way, it takes up to
// [Config.ElectionTimeout] more: for so long a leader believes that it leads. It waits for as long
// as its disk stands still, or the state machine is far behind. It may be called more than once.
func (n *Node) Close() error {
	n.closeMu.Lock() // writes that came before are in waits after this
	first := !n.closing()
	n.leave()
	n.closeMu.Unlock()
	if !first {
		<-n.closed
		return n.err
	}
	n.err = n.end()
	close(n.closed)
	return n.err
}

// closing reports whether Close was called.
func (n *Node) closing() bool { return n.leaving.Err() != nil }

func (n *Node) end() error {
	defer n.loseOthers()()
	var errs []error
	for i := len(n.parts) - 1; i >= 0; i-- {
		if err := n.parts[i].end(); err != nil {
			errs = append(errs, fmt.Errorf("node: end %s: %w", n.parts[i].name, err))
		}
	}
	n.parts = nil
	return errors.Join(errs...)
}

// WaitReady returns when the node can serve: it leads and answers, or it knows
// the leader. The error is the cause of ctx, [ErrClosed], [ErrRemoved], or that of
// [Node.Err].
func (n *Node) WaitReady(ctx context.Context) error {
	_, err := n.lead(ctx)
	if errors.Is(err, ErrNotLeader) {
		return nil
	}
	return err
}

// Watch registers an in-process watcher of all keys that match pattern; see
// [fanout.Registry.Watch]. It works on every node, also on one that does not
// lead.
func (n *Node) Watch(ctx context.Context, pattern string, opts ...fanout.WatchOption) (*fanout.Watcher, error) {
	return n.registry.Watch(ctx, pattern, opts...)
}

// WatchKey registers an in-process watcher of one key; see
// [fanout.Registry.WatchKey].
func (n *Node) WatchKey(ctx context.Context, key string, opts ...fanout.WatchOption) (*fanout.Watcher, error) {
	return n.registry.WatchKey(ctx, key, opts...)
}

// ID returns the node's id.
func (n *Node) ID() string { return n.config.ID }

// Leader returns the id of the node that leads as far as this one knows, empty
// for none.
func (n *Node) Leader() string {
	_, id := n.consensus.raft.LeaderWithID()
	// While it stands for election there is none. Raft may go on naming the one that has handed
	// over to it, and whose last heartbeat came beside that.
	if n.consensus.raft.State() == raft.Candidate {
		return ""
	}
	return string(id)
}

// Revision returns the revision of the last command that this node has applied, also of
// one that was refused.
func (n *Node) Revision() uint64 { return n.machine.Revision() }

// NATSURL returns the URL for NATS clients, without credentials.
func (n *Node) NATSURL() string { return nats.Redact(n.broker.url) }

// RoutesAddr returns where the broker listens for other brokers, empty if it
// does not.
func (n *Node) RoutesAddr() string { return n.broker.routesAddr() }

// HTTPURL returns the URL of the node's HTTP, empty if it is off.
func (n *Node) HTTPURL() string {
	if n.web == nil {
		return ""
	}
	return n.web.url
}
