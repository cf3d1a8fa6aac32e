package linear

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/nats"
)

const (
	pausedRounds = 4
	pausedReads  = 300
)

// TestPausedLeader pauses a leader until another one has taken over and answered a
// write, asks the paused one for what was written, many times, and lets it go on:
// it has all of that to answer before it has heard of its successor. None of the
// answers is from before the write. In a history of random faults this happens now
// and then; here in each round.
func TestPausedLeader(t *testing.T) {
	a := startProcesses(t)
	for round := range pausedRounds {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var leader int
		eventually(t, "somebody leads", func() bool { leader = a.leader(); return leader >= 0 })
		asker := newNATSClient(t, patience, a.url(leader))
		write := func(c *natsClient, value string) (revision uint64) {
			t.Helper()
			eventually(t, value+" is written", func() bool {
				out, ok := c.do(ctx, input{operation: put, key: "k", value: value})
				revision = out.revision
				return ok && out.result == done
			})
			return revision
		}
		write(newNATSClient(t, patience, a.url(leader)), fmt.Sprint("old ", round))

		a.pause(leader)
		other := newNATSClient(t, electionTimeout, a.url((leader+1)%size))
		revision := write(other, fmt.Sprint("new ", round))
		inbox := asker.conn.NewInbox()
		answers := make(chan *natsgo.Msg, 4*pausedReads)
		if _, err := asker.conn.ChanSubscribe(inbox, answers); err != nil {
			t.Fatal(err)
		}
		for range pausedReads {
			if err := asker.conn.PublishRequest("kv.get.k", inbox, nil); err != nil {
				t.Fatal(err)
			}
		}
		a.resume(leader)
		if err := asker.conn.FlushWithContext(ctx); err != nil { // its broker has the questions
			t.Fatal(err)
		}
		eventually(t, "reads at the broker of the paused node reach the new leader", func() bool {
			out, ok := asker.do(ctx, input{operation: get, key: "k"})
			return ok && out.revision >= revision
		})
		for len(answers) > 0 {
			m := <-answers
			// Above it may be an attempt to write that was not answered.
			if at, err := strconv.ParseUint(m.Header.Get(nats.HeaderRev), 10, 64); err == nil && at < revision {
				t.Fatalf("round %d: a leader that had been paused answered %q at %d, after %d had been acknowledged by another", round, m.Data, at, revision)
			}
		}
	}
}

func (a *apart) url(i int) string { return "nats://" + a.configs[i].NATS }

// startProcesses returns a cluster whose brokers have met.
func startProcesses(t *testing.T) *apart {
	t.Helper()
	var a *apart
	eventually(t, "the cluster starts", func() bool {
		a = startApart(t)
		return a != nil
	})
	urls := make([]string, size)
	for i := range urls {
		urls[i] = a.url(i)
	}
	a.asks = newNATSClient(t, patience, urls...).conn
	for i := range size {
		conn := newNATSClient(t, time.Second, a.url(i)).conn
		eventually(t, "the broker of "+id(i)+" reaches the leader", func() bool {
			_, err := conn.Request("kv.get.none", nil, time.Second)
			return err == nil
		})
	}
	return a
}
