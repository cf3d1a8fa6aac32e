package node

import (
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
)

// Defaults of [Config].
const (
	DefaultID      = "node-1"
	DefaultDataDir = "watchcast-data"
	DefaultNATS    = "127.0.0.1:4222"
	DefaultHTTP    = "127.0.0.1:8080"

	DefaultElectionTimeout = 250 * time.Millisecond
	DefaultMaxLogBytes     = 128 << 20

	// Off switches a listener off where an address is expected.
	Off = "off"
)

// Config is what a node needs to know. The zero value is a single node with
// its data in ./watchcast-data, NATS on 127.0.0.1:4222 and HTTP on
// 127.0.0.1:8080.
//
// Addresses are host:port; port 0 takes a free one, which [Node.NATSURL] and
// [Node.HTTPURL] then tell. An address that is not on the loopback interface
// is refused unless Insecure is set; NATS may be on one where NATSConfig has users,
// Routes where it has tls for cluster, Raft with RaftTLS, and HTTP with HTTPTokenFile.
type Config struct {
	// ID names the node within its cluster, the same at every start: letters,
	// digits, dash, underscore. Default "node-1".
	ID string
	// DataDir is where log, snapshots and records are kept. Made if it does
	// not exist; one process at a time may use it. Default "watchcast-data".
	DataDir string
	// InMemory keeps everything in memory. DataDir must be empty then.
	InMemory bool

	// NATS is where the embedded broker listens for clients. Default
	// "127.0.0.1:4222".
	NATS string
	// NATSURL uses an existing broker or cluster of brokers instead of the
	// embedded one: one or more URLs separated by commas, which may hold
	// credentials. NATS, NATSConfig, Routes and JoinRoutes must be empty then.
	//
	// The node makes two connections: one publishes events, the other one answers
	// requests. Give each a user of its own: a request names the subject that the
	// answer goes to, so whoever answers must not be allowed to publish events.
	NATSURL string
	// NATSLogin is the user at the brokers of NATSURL, unless that says it.
	NATSLogin NATSLogin
	// NATSPublisherURL and NATSPublisherLogin are the same for the connection that
	// publishes. Default: both connections are of one user, and the log says what
	// that means.
	NATSPublisherURL   string
	NATSPublisherLogin NATSLogin
	// NATSTLS is for connections to the brokers of NATSURL. Default: certificates of
	// the CAs that the system trusts, where a broker or its URL wants TLS.
	NATSTLS NATSTLS
	// NATSConfig is a configuration file of nats-server, of which the embedded broker
	// takes authorization, tls, and the tls of cluster: users of your own, in the
	// place of clients without credentials, and encryption. It refuses a file that
	// has anything else. No user may publish events or receive requests, whatever the
	// file allows him. The files that its tls names are read again as those of HTTPTLS
	// are; the rest at the start only. The same on every node. Default: clients need no
	// credentials.
	NATSConfig string
	// Routes is where the embedded broker listens for the brokers of the other
	// nodes. Default: nowhere.
	Routes string
	// JoinRoutes are the Routes addresses of other nodes.
	JoinRoutes []string
	// ClusterSecret is what the brokers of a cluster show each other. Required
	// with Routes, and of no use without; the same on every node; 8 bytes or more.
	ClusterSecret string
	// MaxPayload is the longest message the embedded broker takes, in bytes,
	// 64 KiB to 64 MiB. A new cluster allows values 4 KiB shorter than the
	// broker's, with NATSURL than the less of this and what that broker takes.
	// Default 1 MiB.
	MaxPayload int
	// MaxClients is how many NATS clients the embedded broker has at a time; others are
	// refused. Default 65,536, or as many as the limit of open files leaves room for, which
	// is about five eighths of it: see [ErrOpenFiles]. Where one process runs several nodes,
	// or has many files open for something else, give less.
	MaxClients int

	// Raft is where the node listens for the other nodes. Default: nowhere; a
	// node on its own needs none.
	Raft string
	// RaftTLS encrypts what the nodes send each other for Raft. The same on every
	// node. Default: not encrypted.
	RaftTLS RaftTLS
	// Peers are the nodes that found the cluster, this one included: id to
	// Raft address, the same on every node. They count only when a node starts
	// with an empty data directory. Default: this node alone.
	Peers map[string]string
	// RaftAdvertise is where the other nodes reach this one, if that is not Raft: in
	// a container, or where Raft names no host. Default: the node's address in Peers,
	// else Raft.
	RaftAdvertise string

	// Join is the HTTP URL of any node of a running cluster, which this node joins
	// if its data directory is empty: see [Start]. It needs Raft, and excludes Peers.
	// Default: none.
	Join string
	// JoinCA is a file with the CA of the certificate that Join shows, if that begins
	// with https. Default: the CAs that the system trusts.
	JoinCA string
	// Nonvoter makes a node that joins a non-voter for good: it has all data, and
	// counts for no majority. Default: it becomes a voter when it has caught up.
	Nonvoter bool

	// ElectionTimeout is how long a node hears nothing of the leader before it
	// stands for election, 50 ms to 1 minute; a leader steps down after four
	// fifths of it without a majority. Longer where the network or the machines
	// pause. The same on every node. Default 250 ms.
	ElectionTimeout time.Duration

	// HTTP is where status, health and metrics are served, or [Off]. Default
	// "127.0.0.1:8080".
	HTTP string
	// HTTPTLS encrypts HTTP. Default: not encrypted.
	HTTPTLS HTTPTLS
	// HTTPTokenFile has the tokens of which everyone who uses HTTP must show one, as a
	// bearer token or as a password: one a line, of 16 bytes or more each, 16 at most.
	// It is read again while the node runs. /healthz and /readyz need none. This node
	// shows the first one to that of Join. Default: HTTP needs no token.
	HTTPTokenFile string

	// Insecure allows to listen beyond the loopback interface although clients need no
	// credentials there, and what nodes and their brokers send each other is not
	// encrypted.
	Insecure bool

	// Subjects are the roots of the subjects. Default "watch" and "kv".
	Subjects nats.Subjects
	// Ring sizes the queue between writes and their readers. Default 65,536
	// events, 64 MiB.
	Ring fanout.RingOptions
	// Watchers bounds and sizes in-process watchers. Default 1,048,576
	// watchers with a buffer of 10. Its Snapshot is the node's own.
	Watchers fanout.RegistryOptions

	// ProgressInterval is how often in-process watchers that asked for it are told
	// of progress, 1 ms or more. Default 1 s.
	ProgressInterval time.Duration
	// DetailedMetrics adds to the metrics how the dispatcher delivers to in-process
	// watchers: how much at once, how fast, how late. It costs the dispatcher some
	// hundred nanoseconds for each read of the ring. Default: off.
	DetailedMetrics bool

	// MaxLogBytes is how much the Raft log may grow behind the newest snapshot until another
	// one is taken, in bytes, where an entry weighs 256 bytes beside its content; or twice
	// that snapshot, if that is more. It bounds the time of a start after a crash, and what
	// the log takes of the disk: so much, half of MaxLogBytes or 128 entries from before the
	// snapshot, and what is written until the next one is whole. 1 MiB or more. Default
	// 128 MiB.
	MaxLogBytes int64
	// MaxRestoreBytes is the longest backup that [Node.Restore] takes, in bytes; it
	// needs so much room in DataDir, or in memory. Default 8 GiB.
	MaxRestoreBytes int64

	// Logger gets what an operator should know. Default: nothing.
	Logger *slog.Logger
	// Version is shown by the service and by HTTP. Default "0.0.0".
	Version string

	openFiles       int           // that the process may have; 0: what the system says
	shares          fileShares    // of these
	tick            time.Duration // see tickPeriod
	recordPatience  time.Duration // how long a snapshot waits for the record of what was announced
	routesAdvertise string        // where brokers tell each other to dial this one's routes, if not where it listens
	clients         *natsConfig   // what NATSConfig holds; nil without it
}

// check fills in defaults and refuses what cannot work.
func (c *Config) check() error {
	c.defaults()
	if err := c.checkIdentity(); err != nil {
		return err
	}
	if err := c.checkBroker(); err != nil {
		return err
	}
	if err := c.checkAddresses(); err != nil {
		return err
	}
	if err := c.checkJoin(); err != nil {
		return err
	}
	if err := c.checkRaftTLS(); err != nil {
		return err
	}
	if err := c.checkHTTPTLS(); err != nil {
		return err
	}
	if err := c.checkHTTPToken(); err != nil {
		return err
	}
	if err := c.Subjects.Check(); err != nil {
		return badConfig("%s: %w", field("Subjects"), err)
	}
	return c.checkFiles()
}

func (c *Config) defaults() {
	def := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	def(&c.ID, DefaultID)
	def(&c.HTTP, DefaultHTTP)
	def(&c.Version, "0.0.0")
	if !c.InMemory {
		def(&c.DataDir, DefaultDataDir)
	}
	if c.NATSURL == "" {
		def(&c.NATS, DefaultNATS)
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = 1 << 20
	}
	if c.tick == 0 {
		c.tick = tickPeriod
	}
	if c.recordPatience == 0 {
		c.recordPatience = recordPatience
	}
	if c.ElectionTimeout == 0 {
		c.ElectionTimeout = DefaultElectionTimeout
	}
	if c.MaxLogBytes == 0 {
		c.MaxLogBytes = DefaultMaxLogBytes
	}
	if c.MaxRestoreBytes == 0 {
		c.MaxRestoreBytes = 8 << 30
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
}

func (c *Config) checkIdentity() error {
	if !validID(c.ID) {
		return badConfig("%s is %q; give up to 64 letters, digits, dashes and underscores", field("ID"), c.ID)
	}
	if c.InMemory && c.DataDir != "" {
		return badConfig("%s and %s %q exclude each other; give one", field("InMemory"), field("DataDir"), c.DataDir)
	}
	if c.ElectionTimeout < 50*time.Millisecond || c.ElectionTimeout > time.Minute {
		return badConfig("%s is %v; give 50ms to 1m", field("ElectionTimeout"), c.ElectionTimeout)
	}
	if c.MaxLogBytes < leastLog {
		return badConfig("%s is %d; give %d or more", field("MaxLogBytes"), c.MaxLogBytes, leastLog)
	}
	if c.MaxRestoreBytes < 1 {
		return badConfig("%s is %d; give 1 or more", field("MaxRestoreBytes"), c.MaxRestoreBytes)
	}
	if len(c.Peers) > 0 {
		if _, ok := c.Peers[c.ID]; !ok {
			return badConfig("%s do not name this node, %q; list every founding node with its Raft address", field("Peers"), c.ID)
		}
		if c.Raft == "" {
			return badConfig("%s need %s, the address this node listens on for the others", field("Peers"), field("Raft"))
		}
	}
	return nil
}

func (c *Config) checkBroker() error {
	if c.MaxPayload < 64<<10 || c.MaxPayload > 64<<20 {
		return badConfig("%s is %d; give %d to %d bytes", field("MaxPayload"), c.MaxPayload, 64<<10, 64<<20)
	}
	if c.NATSURL != "" && (c.NATS != "" || c.NATSConfig != "" || c.Routes != "" || len(c.JoinRoutes) > 0) {
		return badConfig("%s uses an existing broker; leave out %s, %s, %s and %s, which are for the embedded one", field("NATSURL"), field("NATS"), field("NATSConfig"), field("Routes"), field("JoinRoutes"))
	}
	if err := c.checkLogin(); err != nil {
		return err
	}
	if c.NATSConfig != "" {
		var err error
		if c.clients, err = readNATSConfig(c.NATSConfig); err != nil {
			return err
		}
		if c.clients.securesRoutes() && c.Routes == "" {
			return badConfig("%s has tls for cluster, which needs %s, the address this node's broker listens on for the others", field("NATSConfig"), field("Routes"))
		}
	}
	if len(c.JoinRoutes) > 0 && c.Routes == "" {
		return badConfig("%s need %s, the address this node's broker listens on for the others", field("JoinRoutes"), field("Routes"))
	}
	if c.Routes != "" && len(c.ClusterSecret) < 8 {
		return badConfig("%s has %d bytes; brokers that form routes need the same secret of 8 or more", field("ClusterSecret"), len(c.ClusterSecret))
	}
	if c.Routes == "" && c.ClusterSecret != "" {
		return badConfig("%s is for %s, where this node's broker listens for the others; give %s, or leave it out", field("ClusterSecret"), field("Routes"), field("Routes"))
	}
	return nil
}

// checkAddresses refuses addresses that are malformed or reachable from
// elsewhere without the operator's word.
func (c *Config) checkAddresses() error {
	type address struct {
		field field
		value string
	}
	addresses := []address{{"NATS", c.NATS}, {"Routes", c.Routes}, {"Raft", c.Raft}}
	if c.HTTP != Off {
		addresses = append(addresses, address{"HTTP", c.HTTP})
	}
	for _, a := range addresses {
		if a.value == "" {
			continue
		}
		host, _, err := splitAddress(a.value)
		if err != nil {
			return badConfig("%s is %q; give host:port", a.field, a.value)
		}
		if missing, mend, which := c.unsecured(a.field); missing != "" && !c.Insecure && !loopback(host) {
			return badConfig("%s is %q, which others can reach, and %s; give a loopback address, %s%s, or set %s", a.field, a.value, missing, mend, which, field("Insecure"))
		}
	}
	for id, addr := range c.Peers {
		if _, _, err := splitAddress(addr); err != nil {
			return badConfig("%s have %q for %q; give host:port", field("Peers"), addr, id)
		}
	}
	for _, addr := range c.JoinRoutes {
		if _, _, err := splitAddress(addr); err != nil {
			return badConfig("%s has %q; give host:port", field("JoinRoutes"), addr)
		}
	}
	return nil
}

func splitAddress(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(p, 10, 16)
	return host, int(n), err
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// peerIDs returns the ids of the founding nodes in order.
func (c *Config) peerIDs() []string {
	ids := make([]string, 0, len(c.Peers))
	for id := range c.Peers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
