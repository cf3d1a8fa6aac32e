package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/internal/freeport"
)

// with returns arguments with another value for a flag.
func with(args []string, flag, value string) []string {
	args = slices.Clone(args)
	args[slices.Index(args, flag)+1] = value
	return args
}

// stopAll ends every node in order.
func (c *processes) stopAll() {
	c.t.Helper()
	for _, p := range c.nodes {
		p.signal(os.Interrupt)
	}
	for _, p := range c.nodes {
		if code := p.exit(); code != exitOK {
			c.t.Errorf("exit code %d", code)
		}
	}
}

// TestOtherClustersDirectory gives a node the directory that the node of its name
// has in another cluster, one with more in its log and a higher term, which Raft
// would have replace everything that the others have. It is turned away, says why
// and ends; the others go on; with its own directory it is one of them again.
func TestOtherClustersDirectory(t *testing.T) {
	other := startCluster(t, 3, nil)
	foreign := putSome(t, other.connect(), "foreign", 100)
	for range 2 {
		i := other.leader()
		other.nodes[i].kill()
		other.leader()
		other.restart(i)
	}
	other.stopAll()

	// The same names and addresses.
	c := &processes{t: t, env: other.env, nats: other.nats, nodes: make([]*process, 3)}
	for i := range 3 {
		c.dirs = append(c.dirs, t.TempDir())
		c.args = append(c.args, with(other.args[i], "--data", c.dirs[i]))
		c.nodes[i] = startProcess(t, c.env, c.args[i]...)
	}
	for _, p := range c.nodes {
		p.ready()
	}
	acknowledged := putSome(t, c.connect(), "own", 20)
	const wrong = 2
	turnedAway := func(p *process) {
		t.Helper()
		if code := p.exit(); code != exitItself {
			t.Errorf("exit code %d, want %d", code, exitItself)
		}
		p.oneLine(`^node: data of another cluster: it is of [0-9a-f-]{36}, but n[12] and 1 more of its peers are of [0-9a-f-]{36}; give n3 the directory that belongs there, or an empty one\n$`)
	}

	c.nodes[wrong].signal(os.Interrupt)
	c.nodes[wrong].exit()
	intruder := startProcess(t, c.env, other.args[wrong]...)
	turnedAway(intruder)
	if said := c.nodes[0].stderr.String() + c.nodes[1].stderr.String(); !strings.Contains(said, "refused a node of another cluster; give it the data directory that belongs here") || !strings.Contains(said, "peer=n3") {
		t.Errorf("the others do not say whom they refused:\n%s", said)
	}
	for key, revision := range putSome(t, c.connect(), "later", 20) {
		acknowledged[key] = revision
	}

	// All at once, so that the intruder stands for election, too.
	for _, i := range []int{0, 1} {
		c.nodes[i].kill()
	}
	intruder = startProcess(t, c.env, other.args[wrong]...)
	for _, i := range []int{0, 1} {
		c.nodes[i] = startProcess(t, c.env, c.args[i]...)
	}
	turnedAway(intruder)
	for _, i := range []int{0, 1} {
		c.nodes[i].ready()
	}
	c.restart(wrong)
	for key, revision := range putSome(t, c.connect(), "last", 20) {
		acknowledged[key] = revision
	}
	c.wantAll(acknowledged)
	conn := c.connect()
	for key := range foreign {
		if reply, err := conn.Request("kv.get."+key, nil, limit); err != nil || reply.Header.Get("Nats-Service-Error-Code") != "404" {
			t.Fatalf("%s, of the other cluster, is here: %+v, %v", key, reply, err)
		}
	}
}

// TestSameID starts a second process under the id of a node that runs, with a
// directory and addresses of its own: it is turned away, and the cluster goes on,
// also when its first node of that name is away for a while.
func TestSameID(t *testing.T) {
	c := startCluster(t, 3, nil)
	acknowledged := putSome(t, c.connect(), "before", 20)
	args := c.args[2]
	for _, flag := range []string{"--data", "--nats", "--raft", "--routes"} {
		value := t.TempDir()
		if flag != "--data" {
			value = freeport.Address(t)
		}
		args = with(args, flag, value)
	}
	second := startProcess(t, c.env, args...)
	if code := second.exit(); code != exitItself {
		t.Errorf("exit code %d, want %d", code, exitItself)
	}
	second.oneLine(`^node: another process takes part under this ID, n3, says n[12] at 127\.0\.0\.1:\d+; stop one of the two, or give it an ID of its own\n$`)

	c.nodes[2].kill()
	c.restart(2)
	for key, revision := range putSome(t, c.connect(), "after", 20) {
		acknowledged[key] = revision
	}
	c.wantAll(acknowledged)
}

// TestDirectoryOfAnotherNode: the directory of one node is not taken for that of
// another, which would have voted twice.
func TestDirectoryOfAnotherNode(t *testing.T) {
	dir := t.TempDir()
	first := startProcess(t, nil, nodeArgs(dir, "--id", "n1")...)
	first.ready()
	first.signal(os.Interrupt)
	first.exit()
	second := startProcess(t, nil, nodeArgs(dir, "--id", "n2")...)
	if code := second.exit(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	second.oneLine(`says that this directory is of the node "n1", not of "n2"; give it that ID, or give "n2" a directory of its own`)
	startProcess(t, nil, nodeArgs(dir, "--id", "n1")...).ready()
}

// TestJoinWithOtherClustersDirectory: a node that is to join, and crashed as the only one
// of a cluster of its own, is refused in one line. Neither cluster is changed.
func TestJoinWithOtherClustersDirectory(t *testing.T) {
	dir := t.TempDir()
	args := func(dir, id string) []string { return nodeArgs(dir, "--id", id, "--raft", freeport.Address(t)) }
	member := startProcess(t, nil, args(t.TempDir(), "n1")...)
	member.ready()
	conn := connect(t, member.url())
	revision := putKey(t, conn, "k", "v")

	own := args(dir, "n2")
	loner := startProcess(t, nil, own...)
	loner.ready()
	theirs := putKey(t, connect(t, loner.url()), "k", "of another cluster")
	loner.kill()
	if err := os.RemoveAll(filepath.Join(dir, "announced")); err != nil { // as if it had crashed sooner
		t.Fatal(err)
	}
	p := startProcess(t, nil, append(own, "--join", "http://"+member.httpAddr())...)
	if code := p.exit(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	p.oneLine(`^node: cannot join http://\S+: node: data of another cluster: .* has data of cluster [0-9a-f-]{36}, and that is [0-9a-f-]{36}; give an empty DataDir to join it, or leave out Join\n$`)

	wantKey(t, conn, "k", "v", revision)
	if code, said, wrong := ended(t, "members", "--http", member.httpAddr()); code != exitOK || strings.Contains(said, "n2") {
		t.Errorf("members: exit code %d, %q %q; want n1 alone", code, said, wrong)
	}
	again := startProcess(t, nil, own...)
	again.ready()
	wantKey(t, connect(t, again.url()), "k", "of another cluster", theirs)
}
