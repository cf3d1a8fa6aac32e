package node

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/watchcast/watchcast/internal/freeport"
)

// TestRefusedChanges: each bad change gets its own error of one line, and nothing
// is changed.
func TestRefusedChanges(t *testing.T) {
	t.Parallel()
	leader := founder(t)
	n2 := join(t, joiner(t, leader, "n2"))
	awaitMember(t, leader, "n2", true)
	c := joiner(t, leader, "n3")
	c.Nonvoter = true
	n3 := join(t, c)
	awaitMember(t, leader, "n3", false)
	own, own2, own3 := leader.config.Raft, n2.config.Raft, n3.config.Raft

	stranger := lead(t, func() Config {
		c := serving(t)
		c.ID, c.Raft = "n9", freeport.Address(t)
		return c
	}())
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	gone := freeport.Address(t)
	ctx := bounded(t)
	add := func(id, address string) func() error {
		return func() error { return leader.AddNonvoter(ctx, id, address) }
	}
	for _, c := range []struct {
		name     string
		change   func() error
		is       error
		mentions []string
	}{
		{"id with a dot", add("a.b", gone), ErrBadMember, []string{`"a.b"`, "letters, digits"}},
		{"no id", add("", gone), ErrBadMember, []string{`""`}},
		{"address without a port", add("n4", "127.0.0.1"), ErrBadMember, []string{`"127.0.0.1"`, "host:port"}},
		{"address of every host", add("n4", "0.0.0.0:7000"), ErrBadMember, []string{`"0.0.0.0:7000"`}},
		{"address without a host", add("n4", ":7000"), ErrBadMember, []string{`":7000"`}},
		{"any port", add("n4", "127.0.0.1:0"), ErrBadMember, []string{`"127.0.0.1:0"`}},
		{"id of another address", add("n2", gone), ErrDuplicateMember, []string{"n2", own2, "another id"}},
		{"address of another id", add("n4", own2), ErrDuplicateMember, []string{own2, "n2"}},
		{"address of the leader", add("n4", own), ErrDuplicateMember, []string{own, "n1"}},
		{"a voter", add("n2", own2), ErrDuplicateMember, []string{"n2", "voter", "remove it first"}},
		{"the leader", add("n1", own), ErrDuplicateMember, []string{"n1", "voter"}},
		{"nobody there", add("n4", gone), ErrUnreachable, []string{"n4", gone, "refused", "is it running"}},
		{"somebody who does not answer", add("n4", mute.Addr().String()), ErrUnreachable, []string{"n4", mute.Addr().String()}},
		{"another program", add("n4", other.Listener.Addr().String()), ErrUnreachable, []string{"n4", "404", "Watchcast node"}},
		{"another id at the address", add("n4", stranger.config.Raft), ErrUnreachable, []string{"n4", "n9"}},
		{"another cluster", add("n9", stranger.config.Raft), ErrOtherCluster, []string{"n9", stranger.Status().Cluster, leader.Status().Cluster, "empty data directory"}},
		{"voter with a bad address", func() error { return leader.AddVoter(ctx, "n4", gone) }, ErrUnreachable, []string{"n4"}},
		{"promote nobody", func() error { return leader.Promote(ctx, "n4") }, ErrUnknownMember, []string{`"n4"`, "n1, n2, n3"}},
		{"demote nobody", func() error { return leader.Demote(ctx, "n4") }, ErrUnknownMember, []string{`"n4"`}},
		{"remove nobody", func() error { return leader.Remove(ctx, "n4") }, ErrUnknownMember, []string{`"n4"`}},
		{"on a follower", func() error { return n2.Remove(ctx, "n3") }, ErrNotLeader, []string{"n1"}},
		{"on a non-voter", func() error { return n3.AddNonvoter(ctx, "n4", gone) }, ErrNotLeader, []string{"n1"}},
		{"promote on a follower", func() error { return n2.Promote(ctx, "n3") }, ErrNotLeader, []string{"n1"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantRefused(t, leader, c.change, c.is, c.mentions...) })
	}

	// What is there already is not added again, and is no error.
	before := memberNames(leader)
	for name, change := range map[string]func() error{
		"non-voter": add("n3", own3),
		"voter":     func() error { return leader.AddVoter(ctx, "n2", own2) },
		"promote":   func() error { return leader.Promote(ctx, "n2") },
		"demote":    func() error { return leader.Demote(ctx, "n3") },
	} {
		if err := change(); err != nil {
			t.Errorf("%s again: %v", name, err)
		}
	}
	if after := memberNames(leader); strings.Join(before, " ") != strings.Join(after, " ") {
		t.Errorf("the members are %v; they were %v", after, before)
	}

	// A voter that is gone: the others must stay a majority.
	stop(t, n2)
	eventually(t, "the leader has noticed", func() bool { e, _ := leader.currentEpoch(); return e == nil })
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	wantRefused(t, leader, func() error { return leader.Remove(short, "n3") }, ErrNoLeader)
}

// TestLastVoter: the only voter stays, also where non-voters could follow.
func TestLastVoter(t *testing.T) {
	t.Parallel()
	leader := founder(t)
	c := joiner(t, leader, "n2")
	c.Nonvoter = true
	join(t, c)
	awaitMember(t, leader, "n2", false)
	for name, change := range map[string]func() error{
		"remove": func() error { return leader.Remove(bounded(t), "n1") },
		"demote": func() error { return leader.Demote(bounded(t), "n1") },
		"leave":  func() error { return leader.Leave(bounded(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, leader, change, ErrLastVoter, "n1", "promote another node first")
		})
	}
	put(t, leader, "k", "goes on")
}

// TestNoQuorum: with one voter of three gone, another one is not let go, but the
// one that is gone is.
func TestNoQuorum(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	stop(t, others[0])
	eventually(t, "the leader has noticed", func() bool {
		return !leader.answers(others[0].self(), leader.consensus.raft.CurrentTerm())
	})
	for name, change := range map[string]func() error{
		"remove":           func() error { return leader.Remove(bounded(t), others[1].ID()) },
		"demote":           func() error { return leader.Demote(bounded(t), others[1].ID()) },
		"the leader":       func() error { return leader.Remove(bounded(t), leader.ID()) },
		"the leader, asks": func() error { return leader.Leave(bounded(t)) },
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, leader, change, ErrNoQuorum, "bring one back") })
	}
	if err := leader.Remove(bounded(t), others[0].ID()); err != nil {
		t.Fatal(err)
	}
	put(t, leader, "k", "v")
}

// TestNotCaughtUp: a non-voter that is not there, or lacks too much, is not
// promoted.
func TestNotCaughtUp(t *testing.T) {
	t.Parallel()
	leader := founder(t)
	c := joiner(t, leader, "n2")
	c.Nonvoter = true
	n := join(t, c)
	put(t, leader, "k", "v")
	eventually(t, "n2 follows", func() bool { return n.Revision() == leader.Revision() })
	term := leader.consensus.raft.CurrentTerm()
	stop(t, n)
	eventually(t, "the leader has noticed", func() bool { return !leader.answers("n2", term) })
	promote := func() error { return leader.Promote(bounded(t), "n2") }
	wantRefused(t, leader, promote, ErrNotCaughtUp, "n2", c.Raft, "is it running")

	// It answers, and what it lacks is on its way: said in its place, because on this
	// machine that takes no time.
	behind := ack{term: term, begun: 1 << 40, heard: time.Now().Add(patience), lastIndex: 1}
	leader.consensus.acks.note("n2", behind)
	writers := make(chan error, promoteLag)
	for range promoteLag {
		go func() {
			_, err := leader.Put(bounded(t), "k", []byte("x"))
			writers <- err
		}()
	}
	for range promoteLag {
		if err := <-writers; err != nil {
			t.Fatal(err)
		}
	}
	wantRefused(t, leader, promote, ErrNotCaughtUp, "n2", "up to 1 of")
}

// TestRefusedJoin: what is wrong when a node starts to join is one line of Start's
// error, the cluster is as it was, and the same directory can be used once it is
// right.
func TestRefusedJoin(t *testing.T) {
	t.Parallel()
	leader := founder(t)
	n2 := join(t, joiner(t, leader, "n2"))
	awaitMember(t, leader, "n2", true)
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	put(t, leader, "k", "v")

	for _, c := range []struct {
		name     string
		set      func(*Config)
		is       error
		mentions []string
	}{
		{"id of another", func(c *Config) { c.ID = "n2" }, ErrDuplicateMember, []string{"refused", "n2", n2.config.Raft}},
		{"address of another", func(c *Config) { c.RaftAdvertise = n2.config.Raft }, ErrDuplicateMember, []string{"refused", n2.config.Raft, "n2"}},
		{"address of nobody", func(c *Config) { c.RaftAdvertise = freeport.Address(t) }, ErrUnreachable, []string{"refused", "n3", "is this its Raft address"}},
		{"broker with short messages", func(c *Config) { c.MaxPayload = 64 << 10 }, ErrSmallPayload, []string{"refused", "65536", "1044480", "MaxPayload of 1048576"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := joiner(t, leader, "n3")
			wrong := config
			c.set(&wrong)
			wantRefused(t, leader, func() error {
				n, err := Start(bounded(t), wrong)
				if err == nil {
					stop(t, n)
				}
				return err
			}, ErrJoin, append(c.mentions, leader.HTTPURL())...)
			n, err := Start(bounded(t), wrong)
			if !errors.Is(err, c.is) {
				t.Errorf("start: %v, %v; want %v", n, err, c.is)
			}
			if _, err := os.Stat(filepath.Join(config.DataDir, "joining")); err == nil {
				t.Error("the directory is still joining")
			}
			n = join(t, config)
			awaitMember(t, leader, "n3", true)
			if err := leader.Remove(bounded(t), "n3"); err != nil {
				t.Fatal(err)
			}
			stop(t, n)
		})
	}

	// Nobody there, or somebody else: said when the time is up.
	for url, mention := range map[string]string{
		"http://user:secret@" + freeport.Address(t): "refused",
		other.URL: "404",
	} {
		config := joiner(t, leader, "n4")
		config.Join = url
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the node starts before it asks
		defer cancel()
		_, err := Start(ctx, config)
		wantOneLine(t, err, ErrJoin, mention, "HTTP address")
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%v shows the password", err)
		}
	}
}

// TestJoinWithOtherData: a directory of another cluster is refused.
func TestJoinWithOtherData(t *testing.T) {
	t.Parallel()
	leader := founder(t)
	put(t, leader, "k", "v")

	config := serving(t)
	config.ID, config.Raft = "n2", freeport.Address(t)
	loner := lead(t, config)
	cluster := loner.Status().Cluster
	put(t, loner, "k", "of another cluster")
	stop(t, loner)
	config.Join = leader.HTTPURL()
	wantRefused(t, leader, func() error { _, err := Start(bounded(t), config); return err },
		ErrOtherCluster, config.DataDir, cluster, leader.Status().Cluster, "empty DataDir")
	config.Join = ""
	loner = lead(t, config) // its data are untouched
	if e, err := loner.Get(bounded(t), "k"); err != nil || string(e.Value) != "of another cluster" {
		t.Fatalf("get: %q, %v", e.Value, err)
	}
}

// TestJoinFoundedElsewhere: what another cluster has left in a directory is recognized
// after a crash, too, when it did not record how far it announced; where a join had been
// begun; and where that cluster never had a leader who could name it. The node is
// refused, and neither side is changed.
func TestJoinFoundedElsewhere(t *testing.T) {
	t.Parallel()
	leader := founder(t)
	revision := put(t, leader, "k", "v")
	foreign := func(t *testing.T) Config {
		c := serving(t)
		c.ID, c.Raft = "n2", freeport.Address(t)
		n := lead(t, c)
		put(t, n, "k", "of another cluster")
		stop(t, n)
		return c
	}
	for _, c := range []struct {
		name     string
		founded  func(t *testing.T) Config
		mentions []string
	}{
		{"after a crash", func(t *testing.T) Config {
			c := foreign(t)
			if err := os.Remove(filepath.Join(c.DataDir, "announced")); err != nil {
				t.Fatal(err)
			}
			return c
		}, []string{leader.Status().Cluster, "empty DataDir"}},
		{"with a join begun", func(t *testing.T) Config {
			c := foreign(t)
			if err := os.WriteFile(filepath.Join(c.DataDir, "joining"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return c
		}, []string{"n2", leader.Status().Cluster, "empty"}},
		{"without a leader ever", func(t *testing.T) Config {
			c := serving(t)
			c.ID, c.Raft = "n2", freeport.Address(t)
			c.Peers = map[string]string{"n2": c.Raft, "n8": freeport.Address(t)}
			stop(t, start(t, c))
			c.Peers = nil
			return c
		}, []string{"no leader has named a cluster", "n2 is no member there", "empty DataDir"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := c.founded(t)
			before := readImage(t, filepath.Join(config.DataDir, "snapshots"))
			who, err := os.ReadFile(filepath.Join(config.DataDir, "identity"))
			if err != nil {
				t.Fatal(err)
			}
			joins := config
			joins.Join = leader.HTTPURL()
			wantRefused(t, leader, func() error {
				n, err := Start(bounded(t), joins)
				if err == nil {
					stop(t, n)
				}
				return err
			}, ErrOtherCluster, append(c.mentions, leader.HTTPURL())...)
			before.wantUnchanged(t, filepath.Join(config.DataDir, "snapshots"), "")
			if now, err := os.ReadFile(filepath.Join(config.DataDir, "identity")); err != nil || string(now) != string(who) {
				t.Errorf("the identity is %s, %v; it was %s", now, err, who)
			}
			wantValue(t, leader, "k", "v", revision)
			if !strings.Contains(c.name, "leader") {
				n := lead(t, config)
				if e, err := n.Get(bounded(t), "k"); err != nil || string(e.Value) != "of another cluster" {
					t.Errorf("its own data: %q, %v", e.Value, err)
				}
				stop(t, n)
			}
		})
	}
}

// TestHalfJoined: a directory that was about to join does not found a cluster of its
// own because the flag is forgotten.
func TestHalfJoined(t *testing.T) {
	t.Parallel()
	config := single(t)
	if err := os.WriteFile(filepath.Join(config.DataDir, "joining"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(bounded(t), config)
	wantOneLine(t, err, ErrDataDir, config.DataDir, "give Join again")
}
