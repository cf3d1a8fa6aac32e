package linear

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/node"
)

// asNode holds what the test binary needs to know to run as a node.
const asNode = "WATCHCAST_TEST_AS_NODE"

func TestMain(m *testing.M) {
	if config := os.Getenv(asNode); config != "" {
		os.Exit(beNode(config))
	}
	os.Exit(m.Run())
}

// settings are those of [node.Config] that a process is given.
type settings struct {
	ID, DataDir, NATS, Routes, ClusterSecret, Raft string
	JoinRoutes                                     []string
	Peers                                          map[string]string
	ElectionTimeout                                time.Duration
}

const started = "started"

// beNode runs a node until standard input ends, which it does with the test.
func beNode(config string) int {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var s settings
	if err := json.Unmarshal([]byte(config), &s); err != nil {
		log.Error("settings", "error", err)
		return 2
	}
	_, err := node.Start(context.Background(), node.Config{
		ID: s.ID, DataDir: s.DataDir, NATS: s.NATS, Routes: s.Routes, ClusterSecret: s.ClusterSecret, Raft: s.Raft,
		JoinRoutes: s.JoinRoutes, Peers: s.Peers, ElectionTimeout: s.ElectionTimeout, HTTP: node.Off,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		log.Error("start", "error", err)
		return 1
	}
	io.WriteString(os.Stdout, started+"\n")
	io.Copy(io.Discard, os.Stdin)
	return 0 // as abrupt as a kill
}

// apart is a cluster whose nodes have a process each.
type apart struct {
	t         *testing.T
	configs   []node.Config
	net       *network
	processes [size]*exec.Cmd // nil while killed
	asks      *natsgo.Conn
}

// startApart returns nil if a process does not start: somebody took one of the
// ports that were free.
func startApart(t *testing.T) *apart {
	t.Helper()
	a := &apart{t: t}
	a.configs, a.net = configs(t)
	t.Cleanup(func() {
		for i := range size {
			if a.processes[i] != nil {
				a.kill(i)
			}
		}
	})
	for i := range size {
		if !a.start(i) {
			return nil
		}
	}
	return a
}

// start returns false if the process ends before its node has started.
func (a *apart) start(i int) bool {
	a.t.Helper()
	c := a.configs[i]
	config, err := json.Marshal(settings{
		ID: c.ID, DataDir: c.DataDir, NATS: c.NATS, Routes: c.Routes, ClusterSecret: c.ClusterSecret, Raft: c.Raft,
		JoinRoutes: c.JoinRoutes, Peers: c.Peers, ElectionTimeout: c.ElectionTimeout,
	})
	if err != nil {
		a.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asNode+"="+string(config))
	stderr := &lastLines{}
	cmd.Stderr = stderr
	if _, err := cmd.StdinPipe(); err != nil {
		a.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() {
		if a.t.Failed() {
			a.t.Logf("%s printed at last:\n%s", c.ID, stderr)
		}
	})
	if line, _ := bufio.NewReader(out).ReadString('\n'); strings.TrimSpace(line) != started {
		cmd.Process.Kill()
		cmd.Wait()
		a.t.Logf("%s did not start: %s", c.ID, stderr)
		return false
	}
	a.processes[i] = cmd
	return true
}

func (a *apart) signal(i int, s syscall.Signal) {
	if err := a.processes[i].Process.Signal(s); err != nil {
		a.t.Errorf("%s to %s: %v", s, id(i), err)
	}
}

// leader asks over NATS which node answers.
func (a *apart) leader() int {
	reply, err := a.asks.Request("$SRV.PING.watchcast", nil, 100*time.Millisecond)
	if err != nil {
		return -1
	}
	var ping struct{ Metadata struct{ Node string } }
	if err := json.Unmarshal(reply.Data, &ping); err != nil {
		a.t.Errorf("ping: %q", reply.Data)
	}
	for i := range size {
		if id(i) == ping.Metadata.Node && a.processes[i] != nil {
			return i
		}
	}
	return -1
}

func (a *apart) kill(i int) {
	a.signal(i, syscall.SIGKILL)
	a.processes[i].Wait()
	a.processes[i] = nil
}

func (a *apart) restart(i int) {
	eventually(a.t, id(i)+" starts again", func() bool { return a.start(i) })
}

func (a *apart) pause(i int) bool {
	a.signal(i, syscall.SIGSTOP)
	return true
}

func (a *apart) resume(i int) { a.signal(i, syscall.SIGCONT) }

// lastLines keeps the end of what a process prints.
type lastLines struct {
	mu   sync.Mutex
	text []byte
}

func (l *lastLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	l.text = l.text[max(0, len(l.text)-8<<10):]
	return len(p), nil
}

func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// TestLinearizableProcesses has nodes in processes of their own killed, paused for
// longer than the others wait for them, and cut off, below clients at each of
// their brokers, and readers who wait until a node that was paused can answer.
func TestLinearizableProcesses(t *testing.T) {
	a := startProcesses(t)
	var clients, readers []api
	for i := range size {
		clients = append(clients, newNATSClient(t, electionTimeout, a.url(i), a.url((i+1)%size)))
		readers = append(readers, newNATSClient(t, 5*electionTimeout, a.url(i)))
	}
	torture(t, a, a.net, clients, readers, newNATSClient(t, electionTimeout, a.url(0), a.url(1), a.url(2)))
}
