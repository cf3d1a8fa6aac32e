package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	kongyaml "github.com/alecthomas/kong-yaml"
	"gopkg.in/yaml.v3"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/nats"
	"github.com/watchcast/watchcast/node"
)

const description = `Runs a Watchcast node: a replicated key-value store whose every change is published on NATS.

Without flags: a single node, data in ./watchcast-data, NATS on 127.0.0.1:4222, HTTP on 127.0.0.1:8080.

    nats sub watch.mykey            see each change of mykey
    nats req kv.put.mykey hello     change it
    nats req kv.get.mykey ''        read it

    node health                     ask the node that runs here whether it is ready
    node demo                       write a few changing keys to a running cluster
    node members                    list the nodes of a cluster
    node promote, demote, remove ID, node leave
                                    change who belongs to it
    node backup FILE                write the state of a running cluster to a file
    node restore FILE               replace the state of a running cluster by such a file

Every flag can also be given in the environment (--nats-url as WATCHCAST_NATS_URL) or, by its name, in the file of --config; a flag on the command line wins, then the environment, where an empty variable says nothing.

Exit codes: 0 stopped in order, 1 could not start or stop, 2 wrong flags, 3 stopped by itself: its disk failed, or it met another cluster or a second node of its id. Standard error says which, and what to do.`

type flags struct {
	Config  kong.ConfigFlag  `placeholder:"FILE" help:"YAML file with flags."`
	Version kong.VersionFlag `env:"-" help:"Print the version."`

	ID        string `placeholder:"NAME" default:"node-1" group:"Node" help:"Name of this node in its cluster, the same at every start (${default})."`
	Data      string `placeholder:"DIR" group:"Node" help:"Directory for log and snapshots (./watchcast-data)."`
	Dev       bool   `group:"Node" help:"Keep everything in memory."`
	Demo      bool   `group:"Node" help:"Also write a few changing keys every second."`
	HTTP      string `name:"http" placeholder:"HOST:PORT" default:"127.0.0.1:8080" group:"Node" help:"Serve status, health and metrics here, or off (${default})."`
	HTTPToken string `name:"http-token-file" placeholder:"FILE" group:"Node" help:"File with tokens of which whoever uses HTTP must show one, as a bearer token or a password; one a line. Not for /healthz and /readyz."`
	HTTPCert  string `name:"http-tls-cert" placeholder:"FILE" group:"Node" help:"Certificate (PEM) of HTTP, which is encrypted then; with --http-tls-key."`
	HTTPKey   string `name:"http-tls-key" placeholder:"FILE" group:"Node" help:"Its key."`

	NATS       string `name:"nats" placeholder:"HOST:PORT" group:"Broker" help:"Listen for NATS clients here (127.0.0.1:4222)."`
	NATSConfig string `name:"nats-config" placeholder:"FILE" group:"Broker" help:"Users and certificates of the embedded broker: the authorization and tls of a nats-server configuration. Clients need credentials then; the same on every node."`
	MaxPayload int    `placeholder:"BYTES" default:"1048576" group:"Broker" help:"Longest message the embedded broker takes; a new cluster allows values 4 KiB shorter (${default})."`
	MaxClients int    `placeholder:"N" group:"Broker" help:"NATS clients of the embedded broker at a time; others are refused (65536, or as many as the limit of open files leaves room for)."`

	NATSURL            string `name:"nats-url" placeholder:"URL,..." group:"NATS of your own" help:"Use an existing NATS cluster instead of the embedded broker; several URLs of it, with user and password where it wants them."`
	NATSCreds          string `name:"nats-creds" placeholder:"FILE" group:"NATS of your own" help:"Credentials file, instead of user and password."`
	NATSNKey           string `name:"nats-nkey" placeholder:"FILE" group:"NATS of your own" help:"File with the seed of an NKey, instead of those."`
	NATSPublisherURL   string `name:"nats-publisher-url" placeholder:"URL,..." group:"NATS of your own" help:"The same brokers, with the user and password of the connection that publishes events. Give it a user of its own: whoever answers requests must not be allowed to publish events."`
	NATSPublisherCreds string `name:"nats-publisher-creds" placeholder:"FILE" group:"NATS of your own" help:"Its credentials file."`
	NATSPublisherNKey  string `name:"nats-publisher-nkey" placeholder:"FILE" group:"NATS of your own" help:"File with the seed of its NKey."`
	NATSTLSCert        string `name:"nats-tlscert" placeholder:"FILE" group:"NATS of your own" help:"Certificate (PEM) to show to the brokers, if they ask for one."`
	NATSTLSKey         string `name:"nats-tlskey" placeholder:"FILE" group:"NATS of your own" help:"Its key."`
	NATSTLSCA          string `name:"nats-tlsca" placeholder:"FILE" group:"NATS of your own" help:"The CA of the brokers' certificates, if it is none that the system trusts."`

	WatchRoot string `placeholder:"SUBJECT" default:"watch" group:"Subjects" help:"Root of the event subjects (${default}). Clusters that share brokers need roots of their own, both; the same on every node, and at clients."`
	KVRoot    string `name:"kv-root" placeholder:"SUBJECT" default:"kv" group:"Subjects" help:"Root of the request subjects (${default})."`

	Peers           map[string]string `placeholder:"ID=HOST:PORT,..." mapsep:"," group:"Cluster" help:"The nodes that found the cluster and their Raft addresses, this one included."`
	Raft            string            `placeholder:"HOST:PORT" group:"Cluster" help:"Listen for the Raft traffic of the other nodes here."`
	RaftAdvertise   string            `placeholder:"HOST:PORT" group:"Cluster" help:"Where the other nodes reach this one's Raft, if that is not --raft."`
	Join            string            `placeholder:"URL" group:"Cluster" help:"Join the running cluster that the node with this HTTP URL belongs to, if the data directory is empty; needs --raft. It is shown the first token of --http-token-file."`
	JoinCA          string            `name:"join-ca" placeholder:"FILE" group:"Cluster" help:"The CA of the certificate of --join, if that begins with https and the system does not trust it."`
	Nonvoter        bool              `group:"Cluster" help:"Join for good without a vote: with all data, and counting for no majority."`
	RaftCert        string            `placeholder:"FILE" group:"Cluster" help:"Certificate (PEM) of this node for the Raft traffic, which is encrypted then; with --raft-key and --raft-ca, on every node."`
	RaftKey         string            `placeholder:"FILE" group:"Cluster" help:"Its key."`
	RaftCA          string            `name:"raft-ca" placeholder:"FILE" group:"Cluster" help:"The CA of every node's certificate; of this cluster alone."`
	Routes          string            `placeholder:"HOST:PORT" group:"Cluster" help:"Listen for the brokers of the other nodes here."`
	JoinRoutes      []string          `placeholder:"HOST:PORT" group:"Cluster" help:"Where the brokers of the other nodes listen."`
	ClusterSecret   string            `placeholder:"SECRET" group:"Cluster" help:"What the brokers of a cluster show each other; with --routes, 8 bytes or more, better in the environment than on the command line."`
	ElectionTimeout time.Duration     `placeholder:"TIME" default:"250ms" group:"Cluster" help:"How long without a leader before an election (${default}); longer where the network or the machines pause."`
	Insecure        bool              `group:"Cluster" help:"Allow addresses that others can reach though clients need no credentials there (see --nats-config and --http-token-file), and though Raft (see --raft-cert) and routes are not encrypted."`

	MaxLogBytes     int64 `placeholder:"BYTES" default:"134217728" group:"Cluster" help:"How much the Raft log may grow until a snapshot takes its place, or twice the last snapshot if that is more (${default})."`
	MaxRestoreBytes int64 `placeholder:"BYTES" default:"8589934592" group:"Cluster" help:"Longest backup that node restore may bring (${default})."`

	RingEvents       int           `placeholder:"N" default:"65536" group:"Watch" help:"Changes kept between writes and their readers, and as history (${default})."`
	RingBytes        int64         `placeholder:"BYTES" default:"67108864" group:"Watch" help:"The same in bytes of keys and values (${default})."`
	MaxWatchers      int           `placeholder:"N" default:"1048576" group:"Watch" help:"In-process watchers at a time (${default})."`
	WatchBuffer      int           `placeholder:"N" default:"10" group:"Watch" help:"Changes held for an in-process watcher that is slow, unless it asks for another number (${default})."`
	ProgressInterval time.Duration `placeholder:"TIME" default:"1s" group:"Watch" help:"How often in-process watchers that ask for it are told of progress (${default})."`
	DetailedMetrics  bool          `group:"Watch" help:"Also measure how changes are delivered to in-process watchers, in histograms at /metrics."`

	LogLevel string `enum:"debug,info,warn,error" default:"info" placeholder:"LEVEL" help:"What to log on standard error: ${enum} (${default})."`
}

// parseNode reads what the node is to do from args, environment and
// configuration file; see parse.
func parseNode(args []string, stdout, stderr io.Writer) (f *flags, code int, done bool) {
	f = &flags{}
	code, done = parse(f, "node", description, args, stdout, stderr,
		kong.Configuration(loadConfig),
		kong.Vars{"version": "watchcast " + version()},
	)
	return f, code, done
}

// configFile is a YAML file whose values count only where the environment has
// none (the library puts the file first), and which holds nothing but flags.
type configFile struct {
	kong.Resolver
	keys []string
}

func loadConfig(r io.Reader) (_ kong.Resolver, err error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	defer func() {
		if file, ok := r.(*os.File); ok && err != nil {
			err = fmt.Errorf("%s: %w", file.Name(), err)
		}
	}()
	values, err := kongyaml.Loader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var top map[string]any
	if err := yaml.Unmarshal(data, &top); err != nil {
		return nil, err
	}
	return configFile{values, slices.Sorted(maps.Keys(top))}, nil
}

// Validate refuses a key that is no flag: a misspelt setting must not go
// unnoticed.
func (c configFile) Validate(app *kong.Application) error {
	for _, key := range c.keys {
		if !slices.ContainsFunc(app.Flags, func(f *kong.Flag) bool { return f.Name == key }) {
			return fmt.Errorf("the file of --config has %q, which is no flag", key)
		}
	}
	return nil
}

func (c configFile) Resolve(ctx *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	value, err := c.Resolver.Resolve(ctx, parent, flag)
	if _, text := value.(string); err == nil && value != nil && !text && flag.Target.Kind() == reflect.String {
		// YAML reads 012 as ten, and a date as a point in time, which would be written otherwise.
		return nil, errors.New("in the file of --config it is not read as text; put it in quotes")
	}
	return value, err
}

func (f *flags) config(log *slog.Logger) node.Config {
	return node.Config{
		ID:              f.ID,
		DataDir:         f.Data,
		InMemory:        f.Dev,
		NATS:            f.NATS,
		NATSConfig:      f.NATSConfig,
		NATSURL:         f.NATSURL,
		NATSLogin:       node.NATSLogin{Creds: f.NATSCreds, NKey: f.NATSNKey},
		NATSTLS:         node.NATSTLS{Cert: f.NATSTLSCert, Key: f.NATSTLSKey, CA: f.NATSTLSCA},
		Routes:          f.Routes,
		JoinRoutes:      f.JoinRoutes,
		ClusterSecret:   f.ClusterSecret,
		ElectionTimeout: f.ElectionTimeout,
		MaxPayload:      f.MaxPayload,
		MaxClients:      f.MaxClients,
		Raft:            f.Raft,
		RaftTLS:         node.RaftTLS{Cert: f.RaftCert, Key: f.RaftKey, CA: f.RaftCA},
		Peers:           f.Peers,
		RaftAdvertise:   f.RaftAdvertise,
		Join:            f.Join,
		JoinCA:          f.JoinCA,
		Nonvoter:        f.Nonvoter,
		HTTP:            f.HTTP,
		HTTPTLS:         node.HTTPTLS{Cert: f.HTTPCert, Key: f.HTTPKey},
		HTTPTokenFile:   f.HTTPToken,
		Insecure:        f.Insecure,
		Subjects:        nats.Subjects{Watch: f.WatchRoot, KV: f.KVRoot},
		Ring:            fanout.RingOptions{Slots: f.RingEvents, MaxBytes: f.RingBytes},
		Watchers:        fanout.RegistryOptions{MaxWatchers: f.MaxWatchers, Buffer: f.WatchBuffer},

		NATSPublisherURL:   f.NATSPublisherURL,
		NATSPublisherLogin: node.NATSLogin{Creds: f.NATSPublisherCreds, NKey: f.NATSPublisherNKey},

		ProgressInterval: f.ProgressInterval,
		MaxLogBytes:      f.MaxLogBytes,
		MaxRestoreBytes:  f.MaxRestoreBytes,
		DetailedMetrics:  f.DetailedMetrics,

		Logger:  log,
		Version: version(),
	}
}

func (f *flags) level() slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(f.LogLevel)); err != nil {
		return slog.LevelInfo // the parser lets only levels through
	}
	return l
}

// version is the module's, as the go command recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && strings.HasPrefix(info.Main.Version, "v") {
		return info.Main.Version[1:]
	}
	return "0.0.0"
}
