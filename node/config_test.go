package node

import (
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/internal/freeport"
	"github.com/watchcast/watchcast/nats"
)

// TestBadConfig holds that every refusal is an ErrConfig of one line that names
// the field, its value and the mend.
func TestBadConfig(t *testing.T) {
	peers := map[string]string{DefaultID: "127.0.0.1:7000"}
	for _, c := range []struct {
		name     string
		config   Config
		mentions []string
	}{
		{"id with a dot", Config{ID: "a.b"}, []string{"ID", `"a.b"`, "letters, digits, dashes"}},
		{"id with a space", Config{ID: "a b"}, []string{"ID", `"a b"`}},
		{"id too long", Config{ID: strings.Repeat("x", 65)}, []string{"ID", "64"}},
		{"id not ASCII", Config{ID: "nöde"}, []string{"ID", `"nöde"`}},
		{"memory and a directory", Config{InMemory: true, DataDir: "here"}, []string{"InMemory", "DataDir", `"here"`, "give one"}},
		{"peers without this node", Config{Raft: "127.0.0.1:7000", Peers: map[string]string{"other": "127.0.0.1:7001"}}, []string{"Peers", `"node-1"`, "list every founding node"}},
		{"election timeout", Config{ElectionTimeout: time.Millisecond}, []string{"ElectionTimeout", "1ms", "50ms"}},
		{"peers without Raft", Config{Peers: peers}, []string{"Peers", "Raft", "the address"}},
		{"peer without a port", Config{Raft: "127.0.0.1:7000", Peers: map[string]string{DefaultID: "127.0.0.1"}}, []string{"Peers", `"node-1"`, `"127.0.0.1"`, "host:port"}},
		{"join what is no URL", Config{Join: "127.0.0.1:8080", Raft: "127.0.0.1:7000"}, []string{"Join", `"127.0.0.1:8080"`, "http://127.0.0.1:8080"}},
		{"join a NATS URL", Config{Join: "nats://127.0.0.1:4222", Raft: "127.0.0.1:7000"}, []string{"Join", `"nats://127.0.0.1:4222"`, "HTTP URL"}},
		{"join a path", Config{Join: "http://127.0.0.1:8080/v1/members", Raft: "127.0.0.1:7000"}, []string{"Join", "HTTP URL"}},
		{"join without Raft", Config{Join: "http://127.0.0.1:8080"}, []string{"Join", "Raft", "the address"}},
		{"join and found", Config{Join: "http://127.0.0.1:8080", Raft: "127.0.0.1:7000", Peers: peers}, []string{"Join", "Peers", "exclude"}},
		{"join on any port", Config{Join: "http://127.0.0.1:8080", Raft: "127.0.0.1:0"}, []string{"Join", `"127.0.0.1:0"`, "RaftAdvertise"}},
		{"join on every address", Config{Join: "http://127.0.0.1:8080", Raft: ":7000", Insecure: true}, []string{"Join", `":7000"`, "RaftAdvertise"}},
		{"non-voter of nothing", Config{Nonvoter: true}, []string{"Nonvoter", "Join"}},
		{"advertised without Raft", Config{RaftAdvertise: "127.0.0.1:7000"}, []string{"RaftAdvertise", "Raft"}},
		{"advertised everywhere", Config{Raft: "127.0.0.1:7000", RaftAdvertise: "0.0.0.0:7000"}, []string{"RaftAdvertise", `"0.0.0.0:7000"`, "host:port"}},
		{"advertised twice", Config{Raft: "127.0.0.1:7000", RaftAdvertise: "127.0.0.1:7009", Peers: peers}, []string{"RaftAdvertise", "127.0.0.1:7009", "127.0.0.1:7000", "give one"}},
		{"payload too small", Config{MaxPayload: 1000}, []string{"MaxPayload", "1000", "65536", "67108864"}},
		{"payload too large", Config{MaxPayload: 65 << 20}, []string{"MaxPayload", "68157440", "67108864"}},
		{"payload negative", Config{MaxPayload: -1}, []string{"MaxPayload", "-1"}},
		{"clients negative", Config{MaxClients: -1}, []string{"MaxClients", "-1", "1 or more"}},
		{"more clients than files", Config{MaxClients: 200, openFiles: 256}, []string{"MaxClients", "200", "256", "128", "give less", "ulimit -n"}},
		{"clients of an external broker", Config{NATSURL: "nats://127.0.0.1:4222", MaxClients: 5}, []string{"MaxClients", "NATSURL", "leave it out"}},
		{"two brokers", Config{NATSURL: "nats://127.0.0.1:4222", NATS: "127.0.0.1:4223"}, []string{"NATSURL", "leave out", "NATS"}},
		{"external brokers of no URL", Config{NATSURL: ", ,"}, []string{"NATSURL", `", ,"`, "give the URL of a broker"}},
		{"a publisher at no URL", Config{NATSURL: "nats://127.0.0.1:4222", NATSPublisherURL: ","}, []string{"NATSPublisherURL", `","`, "give the URL of a broker"}},
		{"external broker and routes", Config{NATSURL: "nats://127.0.0.1:4222", Routes: "127.0.0.1:6222", ClusterSecret: "long enough"}, []string{"NATSURL", "Routes"}},
		{"external broker and joined routes", Config{NATSURL: "nats://127.0.0.1:4222", JoinRoutes: []string{"127.0.0.1:6222"}}, []string{"NATSURL", "JoinRoutes"}},
		{"joined routes only", Config{JoinRoutes: []string{"127.0.0.1:6222"}}, []string{"JoinRoutes", "Routes", "the address"}},
		{"routes without a secret", Config{Routes: "127.0.0.1:6222"}, []string{"ClusterSecret", "0 bytes", "8 or more"}},
		{"a secret without routes", Config{ClusterSecret: "long enough"}, []string{"ClusterSecret", "give Routes"}},
		{"a secret for an external broker", Config{NATSURL: "nats://127.0.0.1:4222", ClusterSecret: "long enough"}, []string{"ClusterSecret", "Routes", "leave it out"}},
		{"routes with a short secret", Config{Routes: "127.0.0.1:6222", ClusterSecret: "secret!"}, []string{"ClusterSecret", "7 bytes", "8 or more"}},
		{"joined route without a port", Config{Routes: "127.0.0.1:6222", ClusterSecret: "long enough", JoinRoutes: []string{"there"}}, []string{"JoinRoutes", `"there"`, "host:port"}},
		{"NATS without a port", Config{NATS: "127.0.0.1"}, []string{"NATS", `"127.0.0.1"`, "host:port"}},
		{"NATS with a named port", Config{NATS: "127.0.0.1:nats"}, []string{"NATS", `"127.0.0.1:nats"`, "host:port"}},
		{"NATS with a port too high", Config{NATS: "127.0.0.1:65536"}, []string{"NATS", `"127.0.0.1:65536"`, "host:port"}},
		{"NATS with a negative port", Config{NATS: "127.0.0.1:-1"}, []string{"NATS", `"127.0.0.1:-1"`, "host:port"}},
		{"NATS switched off", Config{NATS: Off}, []string{"NATS", `"off"`, "host:port"}},
		{"NATS for all", Config{NATS: "0.0.0.0:4222"}, []string{"NATS", `"0.0.0.0:4222"`, "loopback", "Insecure"}},
		{"NATS on every interface", Config{NATS: ":4222"}, []string{"NATS", `":4222"`, "loopback", "Insecure"}},
		{"NATS on every IPv6 interface", Config{NATS: "[::]:4222"}, []string{"NATS", `"[::]:4222"`, "Insecure"}},
		{"NATS on a name", Config{NATS: "example.com:4222"}, []string{"NATS", `"example.com:4222"`, "Insecure"}},
		{"HTTP for all", Config{HTTP: "0.0.0.0:8080"}, []string{"HTTP", `"0.0.0.0:8080"`, "Insecure"}},
		{"HTTP without a port", Config{HTTP: "localhost"}, []string{"HTTP", `"localhost"`, "host:port"}},
		{"Raft for all", Config{Raft: "10.0.0.1:7000"}, []string{"Raft", `"10.0.0.1:7000"`, "Insecure"}},
		{"routes for all", Config{Routes: "10.0.0.1:6222", ClusterSecret: "long enough"}, []string{"Routes", `"10.0.0.1:6222"`, "Insecure"}},
		{"subject root with a wildcard", Config{Subjects: nats.Subjects{Watch: "a.*"}}, []string{`"a.*"`}},
		{"subject roots in each other", Config{Subjects: nats.Subjects{Watch: "kv.watch"}}, []string{`"kv.watch"`, `"kv"`}},
		{"ring of negative size", Config{Ring: fanout.RingOptions{Slots: -1}}, []string{"Slots", "-1"}},
		{"buffer of negative size", Config{Watchers: fanout.RegistryOptions{Buffer: -1}}, []string{"Buffer", "-1"}},
		{"too few watchers", Config{Watchers: fanout.RegistryOptions{MaxWatchers: -1}}, []string{"MaxWatchers", "-1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.config.DataDir == "" && !c.config.InMemory {
				c.config.DataDir = t.TempDir()
			}
			n, err := Start(bounded(t), c.config)
			if err == nil {
				stop(t, n)
			}
			wantOneLine(t, err, ErrConfig, c.mentions...)
			bad, ok := errors.AsType[*ConfigError](err)
			if !ok || len(bad.Fields) == 0 {
				t.Fatalf("%v names no field", err)
			}
			for _, name := range bad.Fields {
				if _, known := reflect.TypeFor[Config]().FieldByName(name); !known && !strings.Contains(name, "Options.") {
					t.Errorf("Config has no field %s", name)
				}
				if !strings.Contains(err.Error(), name) {
					t.Errorf("%v does not speak of %s", err, name)
				}
			}
		})
	}
}

// TestConfigErrorCause holds that one can ask a ConfigError for what was in the way.
func TestConfigErrorCause(t *testing.T) {
	t.Parallel()
	config := single(t)
	config.HTTPTokenFile = filepath.Join(t.TempDir(), "absent")
	_, err := Start(bounded(t), config)
	bad, ok := errors.AsType[*ConfigError](err)
	if !ok || !errors.Is(err, ErrConfig) || !errors.Is(err, fs.ErrNotExist) || !slices.Equal(bad.Fields, []string{"HTTPTokenFile"}) {
		t.Errorf("start without the token's file: %v", err)
	}
}

// TestGoodConfig holds what must not be refused.
func TestGoodConfig(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
	}{
		{"nothing", Config{}},
		{"loopback by name", Config{NATS: "localhost:4222", HTTP: "localhost:0"}},
		{"loopback of IPv6", Config{NATS: "[::1]:4222"}},
		{"any loopback address", Config{NATS: "127.8.8.8:4222"}},
		{"no HTTP", Config{HTTP: Off}},
		{"for all, by the operator's word", Config{NATS: "0.0.0.0:4222", HTTP: ":8080", Raft: ":7000", Insecure: true}},
		{"peers elsewhere", Config{Raft: "127.0.0.1:7000", Peers: map[string]string{DefaultID: "127.0.0.1:7000", "n2": "n2.example.com:7000"}}},
		{"join", Config{Join: "http://user:secret@n1.example.com:8080/", Raft: "127.0.0.1:7000"}},
		{"join from a container", Config{Join: "https://n1:8080", Raft: ":7000", RaftAdvertise: "n4:7000", Nonvoter: true, Insecure: true}},
		{"external broker", Config{NATSURL: "nats://user:secret@example.com:4222"}},
		{"limits of the payload", Config{MaxPayload: 64 << 10}},
	} {
		if err := c.config.check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	var c Config
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	if c.ID != DefaultID || c.DataDir != DefaultDataDir || c.NATS != DefaultNATS || c.HTTP != DefaultHTTP || c.MaxPayload != 1<<20 || c.Subjects.Watch != "watch" || c.Subjects.KV != "kv" || c.Logger == nil {
		t.Errorf("defaults are %+v", c)
	}
	c = Config{InMemory: true, NATSURL: "nats://127.0.0.1:4222"}
	if err := c.check(); err != nil || c.DataDir != "" || c.NATS != "" {
		t.Errorf("in memory and with an external broker: %+v, %v", c, err)
	}
}

func TestNoBroker(t *testing.T) {
	t.Parallel()
	config := single(t)
	config.NATS = ""
	for _, credentials := range []string{"user:secret", "secret", "user:secret%", "user:secret"} {
		config.NATSURL = "nats://" + credentials + "@" + freeport.Address(t)
		_, err := Start(bounded(t), config)
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "connect to the broker at nats://127.0.0.1:") {
			t.Errorf("start without a broker, as %s: %v", credentials, err)
		}
	}
}
