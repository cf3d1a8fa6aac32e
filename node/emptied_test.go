package node

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"
)

// TestEmptiedVoterStaysOut: a voter whose directory was emptied is refused however often it
// asks to join, and until it is let in it takes no part: the leader gets no answer of it, and
// nothing of the log comes to it. Once it was removed it joins.
func TestEmptiedVoterStaysOut(t *testing.T) {
	t.Parallel()
	log := &logged{}
	nodes := clusterOf(t, 3, withHTTP, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	leader, others := split(t, nodes)
	emptied := others[0]
	put(t, leader, "k", "v")
	stop(t, emptied)
	silent := func() int { return len(log.lines("does not greet")) }
	before := silent()

	through, err := url.Parse(leader.HTTPURL())
	if err != nil {
		t.Fatal(err)
	}
	forward, open := httputil.NewSingleHostReverseProxy(through), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-open
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(slow.Close)
	config := emptied.config
	config.DataDir, config.Peers = t.TempDir(), nil
	joins := func(through string) <-chan error {
		config.Join = through
		config, result := config, make(chan error, 1)
		go func() {
			n, err := Start(bounded(t), config)
			if err == nil {
				err = n.Close()
			}
			result <- err
		}()
		return result
	}
	refused := func(result <-chan error) {
		t.Helper()
		err := within(t, "the join", func() error { return <-result })
		wantOneLine(t, err, ErrDuplicateMember, emptied.ID(), "voter", "remove it first")
	}

	since := time.Now()
	first := joins(slow.URL)
	eventually(t, "the leader has tried to reach it", func() bool {
		k, ok := leader.consensus.acks.of(emptied.self(), leader.consensus.raft.CurrentTerm())
		heard := ok && k.heard.After(since) && k.lastIndex > 0
		if heard {
			t.Error("it has taken of the log")
		}
		return heard || silent() > before
	})
	close(open)
	refused(first)
	refused(joins(leader.HTTPURL()))
	if err := leader.Remove(bounded(t), emptied.ID()); err != nil {
		t.Fatal(err)
	}
	n := join(t, config)
	awaitMember(t, leader, emptied.ID(), true)
	waitReady(t, n)
}
