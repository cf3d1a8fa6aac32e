package node

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/watchcast/watchcast/nats"
)

// ErrListen says that an address cannot be listened on; the text names the
// field and the mend.
var ErrListen = errors.New("node: cannot listen")

// ErrBroker says that the node has stopped by itself, because its broker objects to something
// in such a way that the connection is not made again; the text says to what.
var ErrBroker = errors.New("node: the broker has closed the node's connection for good")

// checkFree returns an error if addr cannot be listened on. Another process
// may still come first, but the common mistake gets a clear answer.
func checkFree(field, addr string) error {
	if addr == "" || addr == Off {
		return nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return listenError(field, addr, err)
	}
	return l.Close()
}

func listenError(field, addr string, err error) error {
	return fmt.Errorf("%w on %s for %s: stop what uses the port, or give another address (port 0 takes a free one): %w", ErrListen, addr, field, err)
}

// The broker's users. The node's own two prove themselves by keys that are made
// at every start and never leave the process; a client that shows no
// credentials is userClient, whose key nobody uses.
const (
	userPublisher = "publisher"
	userService   = "service"
	userClient    = "client"
	userRoute     = "route"
)

const (
	brokerStart = 10 * time.Second
	brokerPoll  = 100 * time.Millisecond
)

// broker is where a node's two connections go: an embedded nats-server, or
// brokers that somebody else runs.
type broker struct {
	config *Config
	url    string         // for clients
	server *server.Server // nil for an external one
	keys   map[string]nkeys.KeyPair
	wg     sync.WaitGroup

	cut     atomic.Uint64 // clients that the node has cut off
	repeats *repeats

	routeBase uint64 // added to the ids of routes, which begin anew with each broker
}

func startBroker(c *Config) (*broker, error) {
	if c.NATSURL != "" {
		c.warnShared(c.Logger)
		return &broker{config: c, url: c.NATSURL}, nil
	}
	if err := errors.Join(checkFree("NATS", c.NATS), checkFree("Routes", c.Routes)); err != nil {
		return nil, err
	}
	b := &broker{config: c, keys: make(map[string]nkeys.KeyPair), repeats: newRepeats(), routeBase: uint64(rand.Uint32()) << 20}
	public := make(map[string]string)
	for _, user := range []string{userPublisher, userService, userClient} {
		key, err := nkeys.CreateUser()
		if err != nil {
			return nil, fmt.Errorf("node: make a key for the broker: %w", err)
		}
		b.keys[user] = key
		if public[user], err = key.PublicKey(); err != nil {
			return nil, fmt.Errorf("node: make a key for the broker: %w", err)
		}
	}
	o, err := brokerOptions(c, public)
	if err != nil {
		return nil, err
	}
	o.MaxConn = c.shares.clients + ownConns
	if b.server, err = server.NewServer(o); err != nil {
		return nil, fmt.Errorf("node: set up the broker: %w", err)
	}
	fatal := make(chan string, 1)
	b.server.SetLoggerV2(brokerLogger{
		log:     c.Logger.With("part", "broker"),
		repeats: newRepeats(),
		fatal: func(text string) {
			select {
			case fatal <- text:
			default: // the first one is the cause
			}
		},
	}, false, false, false)
	b.wg.Go(b.server.Start)
	if err := b.ready(fatal); err != nil {
		b.stop()
		return nil, err
	}
	b.url = b.server.ClientURL()
	return b, nil
}

// ready waits until the broker accepts clients, or has given up.
func (b *broker) ready(fatal <-chan string) error {
	for end := time.Now().Add(brokerStart); time.Now().Before(end); {
		ok := b.server.ReadyForConnections(brokerPoll)
		select {
		case text := <-fatal:
			return fmt.Errorf("%w: broker: %s", ErrListen, text)
		default:
		}
		if ok {
			return nil
		}
	}
	return fmt.Errorf("node: the broker was not ready within %v", brokerStart)
}

// brokerOptions are the settings of the embedded broker. A slow or stuck
// client is cut off soon and never slows the publisher.
func brokerOptions(c *Config, public map[string]string) (*server.Options, error) {
	host, port, err := splitAddress(c.NATS)
	if err != nil {
		return nil, err
	}
	o := c.clients.serverOptions(c.Logger)
	o.ServerName = c.ID
	o.Host, o.Port = host, brokerPort(port)
	o.NoSigs = true
	o.MaxPayload = int32(c.MaxPayload)
	o.MaxPending = mostWaiting
	o.WriteDeadline = 2 * time.Second
	addUsers(o, brokerUsers(c.Subjects, public), public[userClient], c.Subjects)
	if c.Routes == "" {
		return o, nil
	}
	if host, port, err = splitAddress(c.Routes); err != nil {
		return nil, err
	}
	o.Cluster.Name = "watchcast"
	o.Cluster.Host, o.Cluster.Port = host, brokerPort(port)
	o.Cluster.Username, o.Cluster.Password = userRoute, c.ClusterSecret
	o.Cluster.PingInterval = 500 * time.Millisecond
	o.Cluster.MaxPingsOut = 2
	o.Cluster.PoolSize = -1 // one route to each other broker: see ADR 14
	o.Cluster.Advertise = c.routesAdvertise
	for _, addr := range c.JoinRoutes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: addr, User: url.UserPassword(userRoute, c.ClusterSecret)})
	}
	return o, nil
}

// brokerPort translates "any free port", which nats-server writes as -1.
func brokerPort(port int) int {
	if port == 0 {
		return server.RANDOM_PORT
	}
	return port
}

// brokerUsers gives each user the least it needs. Two users for the node: the
// one that may publish events answers no requests, for a request names the
// subject that its answer goes to, and could have the node forge an event.
func brokerUsers(s nats.Subjects, public map[string]string) []*server.NkeyUser {
	nothing := []string{">"}
	events, requests := s.PublishedByNodes(), s.AnsweredByNodes()
	user := func(name string, publish, subscribe *server.SubjectPermission) *server.NkeyUser {
		return &server.NkeyUser{
			Nkey:        public[name],
			Permissions: &server.Permissions{Publish: publish, Subscribe: subscribe},
		}
	}
	return []*server.NkeyUser{
		user(userPublisher,
			&server.SubjectPermission{Allow: events},
			&server.SubjectPermission{Deny: nothing}),
		user(userService,
			&server.SubjectPermission{Deny: append(append([]string{}, events...), requests...)},
			&server.SubjectPermission{Allow: append([]string{"$SRV.>", s.Beacon(), s.Ack(), s.Reset()}, requests...)}),
		user(userClient,
			&server.SubjectPermission{Deny: events},
			&server.SubjectPermission{Deny: requests}),
	}
}

// connect returns a connection for one of the node's users.
func (b *broker) connect(user, name string, log *slog.Logger, options ...natsgo.Option) (*natsgo.Conn, error) {
	complaints := newRepeats() // anybody can provoke one by a request
	target, own, err := b.reach(user)
	if err != nil {
		return nil, err
	}
	options = slices.Concat([]natsgo.Option{
		natsgo.Name(name),
		natsgo.MaxReconnects(-1),
		natsgo.SkipSubjectValidation(), // what is published is made by the codec
		natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
			complaints.log(log, slog.LevelWarn, name, "broker connection", "connection", name, "error", err)
		}),
	}, own, options)
	begun := time.Now()
	conn, err := natsgo.Connect(target, options...)
	for err != nil && b.server != nil && time.Since(begun) < brokerStart {
		conn, err = natsgo.Connect(target, options...) // clients may have come before it
	}
	if err != nil {
		err = nats.RedactError(target, err)
		if refusedLogin(err) {
			err = fmt.Errorf("it refuses the credentials of the node's connection as %s; see that its user, with this password or key, is known there: %w", user, err)
		} else if errors.Is(err, natsgo.ErrNoServers) {
			err = fmt.Errorf("%w; is a broker running there?", err)
		}
		return nil, fmt.Errorf("node: connect to the broker at %s: %w", nats.Redact(target), err)
	}
	return conn, nil
}

// endsWhenClosed has the node stop by itself when one of its connections is closed for good by
// anybody but the node. It would hold office and serve nobody. What may be mended at the
// broker, as credentials, and all that a new connection mends, does not come to that.
func (n *Node) endsWhenClosed(user string) []natsgo.Option {
	return []natsgo.Option{
		natsgo.NoCallbacksAfterClientClose(),
		natsgo.ClosedHandler(func(conn *natsgo.Conn) {
			cause := conn.LastError()
			if cause == nil {
				cause = natsgo.ErrConnectionClosed
			}
			n.fail(fmt.Errorf("%w, as %s: %w; see to what it objects to, then start the node again: nothing that was acknowledged is lost", ErrBroker, user, cause))
		}),
	}
}

// reach returns where a connection of one of the node's users goes, and what it
// needs for that.
func (b *broker) reach(user string) (target string, options []natsgo.Option, err error) {
	if b.server == nil {
		return b.config.external(user)
	}
	key := b.keys[user]
	public, err := key.PublicKey()
	if err != nil {
		return "", nil, fmt.Errorf("node: key of the broker's user %s: %w", user, err)
	}
	// Not the URL for clients: if that says TLS, it is not for a connection that
	// leaves no process.
	return "nats://" + b.server.Addr().String(), []natsgo.Option{nats.InProcess(b), natsgo.Nkey(public, key.Sign)}, nil
}

// interest returns what tells whether anybody subscribes to a subject, here or at a
// broker that this one has a route to; nil if only the broker itself knows.
func (b *broker) interest() func(subject string) bool {
	if b.server == nil {
		return nil
	}
	return b.server.GlobalAccount().SubscriptionInterest
}

// routes returns a number for the route to each other broker, by its name, which is the
// id of its node; nil if they are not known. A number stands for no other route, also of
// an earlier or later broker of this name.
func (b *broker) routes() map[string]uint64 {
	if b.server == nil {
		return nil
	}
	routes := make(map[string]uint64)
	z, err := b.server.Routez(nil)
	if err != nil {
		return routes
	}
	for _, r := range z.Routes {
		routes[r.RemoteName] = b.routeBase + r.Rid
	}
	return routes
}

// routesAddr returns where the broker listens for routes, empty if it does not.
func (b *broker) routesAddr() string {
	if b.server == nil || b.server.ClusterAddr() == nil {
		return ""
	}
	addr := b.server.ClusterAddr()
	return net.JoinHostPort(addr.IP.String(), strconv.Itoa(addr.Port))
}

// guestsBefore reports whether clients are connected to the node's own broker since before
// a moment; own are the node's connections.
func (b *broker) guestsBefore(at time.Time, own ...uint64) bool {
	if b.server == nil {
		return false
	}
	// The oldest come first.
	z, err := b.server.Connz(&server.ConnzOptions{Sort: server.ByCid, Limit: len(own) + 1})
	if err != nil {
		return true
	}
	for _, c := range z.Conns {
		if c.Start.Before(at) && !slices.Contains(own, c.Cid) {
			return true
		}
	}
	return false
}

func (b *broker) stop() {
	if b.server == nil {
		return
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
	b.wg.Wait()
}
