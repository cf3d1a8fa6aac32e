package node

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/fanout/fanouttest"
	"github.com/watchcast/watchcast/nats"
)

// audience is everybody who listens at one node: in its process, and as clients of its
// broker.
type audience struct {
	t    *testing.T
	node *Node
	gone bool // with its node

	conn   *natsgo.Conn // of the plain subscriber
	plain  *stream
	state  *mirror // heals itself, by verification, too
	once   *mirror // of keys that change once, and by what it notices alone
	raw    *mirror
	within *inside
}

// listen brings an audience to a node, whose broker it reaches through a link.
func listen(t *testing.T, n *Node, k *link) *audience {
	t.Helper()
	a := &audience{t: t, node: n, conn: linkConn(t, k)}
	a.plain = subscribe(t, a.conn, ">")
	others := linkConn(t, k)
	often := clientOn(t, others, func(o *nats.ClientOptions) { o.Verify = 2 * time.Second })
	a.state = mirrorOf(t, often, ">", nats.WatchOptions{})
	a.raw = mirrorOf(t, often, "k.>", nats.WatchOptions{Raw: true})
	a.once = mirrorOf(t, clientOn(t, others, noVerify), "once.>", nats.WatchOptions{})
	a.within = insideOf(t, n)
	return a
}

// linkConn connects through a link, and knows no other way.
func linkConn(t *testing.T, k *link) *natsgo.Conn {
	t.Helper()
	return connect(t, k.url(), append(nats.ClientConn(), natsgo.IgnoreDiscoveredServers())...)
}

// begun waits until every watch has begun.
func (a *audience) begun() {
	a.t.Helper()
	for _, m := range []*mirror{a.state, a.once, a.raw} {
		eventually(a.t, "a watch at "+a.node.ID()+" has begun", func() bool { return m.told(nats.Synced) == 1 })
	}
}

// got waits until everybody has the last event, or the state that it is part of; shows is
// the last one of those that the raw watch sees.
func (a *audience) got(shows, last uint64, want map[string]string) {
	a.t.Helper()
	if a.gone {
		return
	}
	a.plain.seen(last)
	eventually(a.t, "the raw watch at "+a.node.ID()+" has the last event", func() bool { return a.raw.reached(shows) })
	eventually(a.t, "the watcher in "+a.node.ID()+" has the last event", func() bool { return a.within.reached(last) })
	a.state.equals("at "+a.node.ID(), want)
	once := make(map[string]string)
	filter := filterOf(a.t, "once.>")
	for key, value := range want {
		if filter.Match(key) {
			once[key] = value
		}
	}
	a.once.equals("at "+a.node.ID()+", of keys that change once", once)
}

// check holds each history against what was committed; all that lies above start is to be
// there, up to last.
func (a *audience) check(log *fanouttest.Log, start, last uint64) {
	a.t.Helper()
	a.within.check(log, last, a.gone)
	if a.gone {
		return
	}
	a.state.receiver(log, "state", ">").Check(a.t, last)
	a.once.receiver(log, "once", "once.>").Check(a.t, last)
	a.raw.rawReceiver(log, "raw", "k.>", last).Check(a.t, last)

	// Who stayed connected was told what he lost.
	option := fanouttest.AtLeastOnce()
	if n := a.conn.Stats().Reconnects; n > 0 {
		a.t.Logf("the subscriber at %s has connected again %d times", a.node.ID(), n)
		option = fanouttest.Unmarked()
	}
	a.plain.receiver(log, "subscriber at "+a.node.ID(), ">", start, last, option).Check(a.t, last)
}

func filterOf(t *testing.T, pattern string) fanout.Filter {
	t.Helper()
	f, err := fanout.PatternFilter(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// receiver has what a subscriber was given.
func (s *stream) receiver(log *fanouttest.Log, name, pattern string, start, last uint64, option fanouttest.ReceiverOption) *fanouttest.Receiver {
	s.t.Helper()
	filter := filterOf(s.t, pattern)
	r := log.Receiver(name, filter, start, option)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		r.Receive(e)
	}
	for _, l := range s.resets {
		r.Receive(&fanout.Event{Op: fanout.Lagged, PrevRevision: l.From, Revision: l.To})
	}
	r.Read(last, log.State(last, filter))
	return r
}

// reached reports whether a change of that revision was given.
func (m *mirror) reached(revision uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.all, func(u nats.Update) bool { return u.Kind == nats.Changed && u.Event.Revision == revision })
}

// receiver has what a watch that heals itself gave.
func (m *mirror) receiver(log *fanouttest.Log, name, pattern string) *fanouttest.Receiver {
	m.t.Helper()
	r := log.Receiver(name, filterOf(m.t, pattern), 0, fanouttest.Healing())
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.all {
		switch {
		case u.Kind == nats.Changed && u.Asked:
			r.Answer(u.Event)
		case u.Kind == nats.Changed:
			r.Receive(u.Event)
		case u.Kind == nats.Synced || u.Kind == nats.Fresh:
			r.Receive(&fanout.Event{Op: fanout.Progress, Revision: u.Revision})
		}
	}
	return r
}

// rawReceiver has what a raw watch gave. Whatever else made it say that something was lost,
// each key's next event must have said so, too: only that counts.
func (m *mirror) rawReceiver(log *fanouttest.Log, name, pattern string, last uint64) *fanouttest.Receiver {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.all, func(u nats.Update) bool { return u.Kind == nats.Synced })
	filter := filterOf(m.t, pattern)
	r := log.Receiver(name, filter, m.all[i].Revision, fanouttest.AtLeastOnce())
	for _, u := range m.all {
		switch {
		case u.Kind == nats.Changed:
			r.Receive(u.Event)
		case u.Kind == nats.Lost && u.Key != "":
			r.Receive(&fanout.Event{Op: fanout.Lagged, Key: u.Key, PrevRevision: u.Range.From, Revision: u.Range.To})
		}
	}
	r.Read(last, log.State(last, filter))
	return r
}

// inside is a watcher in the process of a node, since before the first change.
type inside struct {
	t    *testing.T
	node *Node

	mu     sync.Mutex
	events []*fanout.Event
}

func insideOf(t *testing.T, n *Node) *inside {
	t.Helper()
	i := &inside{t: t, node: n}
	w := watch(t, n, ">", fanout.FromRevision(1), fanout.WithBuffer(fanout.MaxBuffer))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			e, err := w.Next(ctx)
			if err != nil {
				return
			}
			i.mu.Lock()
			i.events = append(i.events, e)
			i.mu.Unlock()
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return i
}

func (i *inside) all() []*fanout.Event {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.events)
}

func (i *inside) reached(revision uint64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.events) > 0 && i.events[len(i.events)-1].Revision >= revision
}

// check holds what was received against what was committed; of a node that is gone, as far
// as it came.
func (i *inside) check(log *fanouttest.Log, last uint64, gone bool) {
	i.t.Helper()
	r := log.Receiver("within "+i.node.ID(), filterOf(i.t, ">"), 0)
	for _, e := range i.all() {
		r.Receive(e)
	}
	if gone {
		last = r.Through()
	}
	r.Check(i.t, last)
}
