//go:build docker

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// project sets the containers of these tests apart from a demo that runs. It is
// the same every time, so that a run clears away what a killed one left.
const project = "watchcast-e2e"

// cluster is compose.yaml, up and running on ports of its own.
type cluster struct {
	t     *testing.T
	env   []string
	nodes []member
}

// member is one of the nodes in containers.
type member struct {
	name string // service and node id
	node        // for clients on this machine
	http string // URL
}

// startCluster brings the cluster up with all nodes healthy. It is taken down
// with its data at the end of the test, however that ends.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, env: os.Environ()}
	for i := range 3 {
		natsPort, httpPort := freePort(t), freePort(t)
		c.env = append(c.env, fmt.Sprintf("N%d_NATS=%s", i+1, natsPort), fmt.Sprintf("N%d_HTTP=%s", i+1, httpPort))
		c.nodes = append(c.nodes, member{
			name: fmt.Sprintf("n%d", i+1),
			node: node{&process{t: t}, "nats://127.0.0.1:" + natsPort},
			http: "http://127.0.0.1:" + httpPort,
		})
	}
	down := func() { c.compose("down", "--volumes", "--remove-orphans", "--timeout", "5") }
	down()
	t.Cleanup(down)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.compose("logs", "--no-color", "--tail=100"))
		}
	})
	c.must(c.compose("up", "-d"))
	for _, m := range c.nodes {
		c.awaitReady(m)
	}
	return c
}

// output is what a command printed, and whether it succeeded.
type output struct {
	text string
	err  error
}

func (o output) String() string { return strings.TrimSpace(o.text) }

// command runs a program to its end, in a time in which it always does.
func (c *cluster) command(name string, args ...string) output {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience) // also during Cleanup
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = c.env
	text, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, text)
	}
	return output{string(text), err}
}

func (c *cluster) compose(args ...string) output {
	command := strings.Fields(os.Getenv("COMPOSE"))
	if len(command) == 0 {
		return output{err: fmt.Errorf("COMPOSE is not set; run make e2e")}
	}
	args = append([]string{"--project-name", project, "--file", "../compose.yaml"}, args...)
	return c.command(command[0], append(command[1:], args...)...)
}

func (c *cluster) docker(args ...string) output { return c.command("docker", args...) }

func (c *cluster) must(o output) string {
	c.t.Helper()
	if o.err != nil {
		c.t.Fatal(o.err)
	}
	return o.String()
}

// container returns the id of a service's container, whether it runs or not.
func (c *cluster) container(service string) string {
	c.t.Helper()
	return c.must(c.docker("ps", "--all", "--quiet",
		"--filter", "label=com.docker.compose.project="+project,
		"--filter", "label=com.docker.compose.service="+service))
}

// health asks a node in its container, as Docker does every few seconds.
func (c *cluster) health(m member) output {
	return c.docker("exec", c.container(m.name), "/node", "health")
}

// eventually looks again and again until a condition holds that nothing signals.
func (c *cluster) eventually(what string, condition func() bool) {
	c.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !condition(); {
		select {
		case <-tick.C:
		case <-deadline:
			c.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func (c *cluster) awaitReady(m member) {
	c.t.Helper()
	var last output
	defer func() {
		if c.t.Failed() {
			c.t.Log(last.err)
		}
	}()
	c.eventually(m.name+" is ready", func() bool {
		last = c.health(m)
		return last.err == nil
	})
}

// status is the part of /v1/status that is compared.
type status struct {
	Leader   string
	Revision uint64
	Keys     int
}

// status asks a node; false if it does not answer.
func (m member) status() (s status, ok bool) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(m.http + "/v1/status")
	if err != nil {
		return s, false
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s) == nil
}

// backup returns the state that a node itself has. Equal states are equal bytes.
func (m member) backup(t *testing.T) []byte {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(m.http + "/v1/backup?stale")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("backup of %s: %s, %v", m.name, resp.Status, err)
	}
	return b
}

// leader waits until all of some nodes name the same one of them as leader.
func (c *cluster) leader(among []member) member {
	c.t.Helper()
	var found member
	c.eventually("the nodes agree on a leader", func() bool {
		var leaders []string
		for _, m := range among {
			s, _ := m.status()
			leaders = append(leaders, s.Leader)
		}
		i := slices.IndexFunc(among, func(m member) bool { return m.name == leaders[0] })
		if i < 0 || len(slices.Compact(leaders)) != 1 {
			return false
		}
		found = among[i]
		return true
	})
	return found
}

// others are all nodes but one.
func (c *cluster) others(than member) []member {
	return slices.DeleteFunc(slices.Clone(c.nodes), func(m member) bool { return m.name == than.name })
}

// urls are all nodes as a client is given them.
func (c *cluster) urls() string {
	var urls []string
	for _, m := range c.nodes {
		urls = append(urls, m.url)
	}
	return strings.Join(urls, ",")
}

// freePort returns a loopback port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
