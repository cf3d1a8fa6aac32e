package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/watchcast/watchcast/node"
)

// remote is a store, or a broker alone, with watchers of one key in other "processes":
// behind connections over TCP of their own.
type remote struct {
	name string
	url  string                                        // of the broker, if it is one
	put  func(ctx context.Context, value []byte) error // to the key, over TCP
	// watch registers watchers over so many connections; each calls received for every
	// change. The returned function ends them.
	watch func(ctx context.Context, watchers, connections int, received func(value []byte)) (func(), error)
}

const (
	remoteKey      = "watched"
	remotePatience = 30 * time.Second
)

// closers ends things in the opposite order of their start.
type closers []func()

func (c *closers) add(f func()) { *c = append(*c, f) }

func (c closers) close() {
	for i := len(c) - 1; i >= 0; i-- {
		c[i]()
	}
}

// dialMany opens connections to a broker.
func dialMany(url string, n int) (conns []*natsgo.Conn, stop func(), err error) {
	stop = func() {
		for _, c := range conns {
			c.Close()
		}
	}
	for range n {
		c, err := natsgo.Connect(url)
		if err != nil {
			stop()
			return nil, nil, err
		}
		conns = append(conns, c)
	}
	return conns, stop, nil
}

// subscribeMany has watchers of a subject, over so many connections.
func subscribeMany(url, subject string, watchers, connections int, received func([]byte)) (func(), error) {
	conns, stop, err := dialMany(url, connections)
	if err != nil {
		return nil, err
	}
	for i := range watchers {
		sub, err := conns[i%connections].Subscribe(subject, func(m *natsgo.Msg) { received(m.Data) })
		if err == nil {
			err = sub.SetPendingLimits(-1, -1)
		}
		if err != nil {
			stop()
			return nil, err
		}
	}
	for _, c := range conns {
		if err := c.FlushTimeout(remotePatience); err != nil {
			stop()
			return nil, err
		}
	}
	return stop, nil
}

// remoteNode is a node, whose clients are any NATS clients.
func remoteNode(url string, c *natsgo.Conn) remote {
	return remote{
		name: "node",
		url:  url,
		put: func(_ context.Context, value []byte) error {
			reply, err := c.Request("kv.put."+remoteKey, value, remotePatience)
			if err == nil && reply.Header.Get("Nats-Service-Error") != "" {
				err = errors.New(reply.Header.Get("Nats-Service-Error"))
			}
			return err
		},
		watch: func(_ context.Context, watchers, connections int, received func([]byte)) (func(), error) {
			return subscribeMany(url, "watch."+remoteKey, watchers, connections, received)
		},
	}
}

// remoteService is a NATS server and, in its process, a service that stores nothing: it
// answers each request, and may publish what came. A store whose writes are NATS requests
// and whose events are NATS messages can hardly be faster.
func remoteService(publishes bool) (remote, func(), error) {
	s, err := startServer(nil)
	if err != nil {
		return remote{}, nil, err
	}
	all := closers{s.Shutdown}
	var conns []*natsgo.Conn
	for range 2 { // as a node has
		c, err := natsgo.Connect("", natsgo.InProcessServer(s))
		if err != nil {
			all.close()
			return remote{}, nil, err
		}
		all.add(c.Close)
		conns = append(conns, c)
	}
	_, err = conns[0].Subscribe("kv.put.>", func(m *natsgo.Msg) {
		if publishes {
			conns[1].Publish("watch."+remoteKey, m.Data)
		}
		m.Respond(nil)
	})
	if err == nil {
		err = conns[0].Flush()
	}
	var client *natsgo.Conn
	if err == nil {
		client, err = natsgo.Connect(s.ClientURL())
	}
	if err != nil {
		all.close()
		return remote{}, nil, err
	}
	all.add(client.Close)
	r := remoteNode(s.ClientURL(), client)
	r.name = "NATS alone"
	return r, all.close, nil
}

// remoteEtcd is one member of etcd.
func remoteEtcd(p *etcdPeer) (remote, func(), error) {
	connect := func() (*clientv3.Client, error) {
		return clientv3.New(clientv3.Config{Endpoints: []string{p.url}, DialTimeout: peerStart, Logger: zap.NewNop()})
	}
	writer, err := connect()
	if err != nil {
		return remote{}, nil, err
	}
	return remote{
		name: "etcd",
		put: func(ctx context.Context, value []byte) error {
			_, err := writer.Put(ctx, remoteKey, string(value))
			return err
		},
		watch: func(ctx context.Context, watchers, connections int, received func([]byte)) (func(), error) {
			ctx, cancel := context.WithCancel(ctx)
			var wg sync.WaitGroup
			all := closers{wg.Wait, cancel}
			for n := range connections {
				c, err := connect()
				if err != nil {
					all.close()
					return nil, err
				}
				all = append(closers{func() { c.Close() }}, all...)
				for range (watchers + n) / connections { // in all as many as were asked for
					ch := c.Watch(ctx, remoteKey, clientv3.WithCreatedNotify())
					select {
					case <-ch: // it is registered
					case <-time.After(remotePatience):
						all.close()
						return nil, errors.New("etcd: a watcher is not registered")
					}
					wg.Go(func() {
						for r := range ch {
							for _, e := range r.Events {
								received(e.Kv.Value)
							}
						}
					})
				}
			}
			return all.close, nil
		},
	}, func() { writer.Close() }, nil
}

// besideEtcd starts a node and etcd, with their files on the disk, and runs a measure of
// both.
func besideEtcd(ctx context.Context, e env, measure func(n *node.Node, ours, etcd remote) ([]finding, error)) ([]finding, error) {
	n, stop, err := startNode(ctx, e.dir)
	if err != nil {
		return nil, err
	}
	defer stop()
	conn, err := natsgo.Connect(n.NATSURL())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	p, err := startEtcd(ctx, e.dir)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	etcd, hangUp, err := remoteEtcd(p)
	if err != nil {
		return nil, err
	}
	defer hangUp()
	return measure(n, remoteNode(n.NATSURL(), conn), etcd)
}

// startServer starts a NATS server alone.
func startServer(change func(*server.Options)) (*server.Server, error) {
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true}
	if change != nil {
		change(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, err
	}
	go s.Start()
	if !s.ReadyForConnections(peerStart) {
		s.Shutdown()
		return nil, errors.New("the NATS server is not ready")
	}
	return s, nil
}

// latency puts n times, one after the other, and returns how long each took from before
// the put until a watcher had it.
func (r remote) latency(ctx context.Context, n int) ([]float64, error) {
	got := make(chan time.Time, 1)
	stop, err := r.watch(ctx, 1, 1, func([]byte) { got <- time.Now() })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.name, err)
	}
	defer stop()
	value := make([]byte, valueBytes)
	all := make([]float64, 0, n)
	for range n {
		begun := time.Now()
		if err := r.put(ctx, value); err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		select {
		case at := <-got:
			all = append(all, float64(at.Sub(begun).Microseconds()))
		case <-time.After(remotePatience):
			return nil, fmt.Errorf("%s: a change did not arrive", r.name)
		}
	}
	return all, nil
}

// fanOut has so many watchers of the key and puts n times, some at a time, and returns
// the deliveries a second until each watcher has had the last.
func (r remote) fanOut(ctx context.Context, watchers, n, putters int) (float64, error) {
	var received atomic.Int64
	all := make(chan struct{})
	want := int64(watchers) * int64(n)
	stop, err := r.watch(ctx, watchers, clientConns, func([]byte) {
		if received.Add(1) == want {
			close(all)
		}
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", r.name, err)
	}
	defer stop()
	value := make([]byte, valueBytes)
	errs := make([]error, putters)
	var wg sync.WaitGroup
	begun := time.Now()
	for p := range putters {
		wg.Go(func() {
			for i := p; i < n && errs[p] == nil; i += putters {
				errs[p] = r.put(ctx, value)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, fmt.Errorf("%s: %w", r.name, err)
	}
	select {
	case <-all:
	case <-time.After(remotePatience):
		return 0, fmt.Errorf("%s: %d of %d deliveries did not arrive", r.name, want-received.Load(), want)
	}
	return rate(int(want), time.Since(begun)), nil
}
