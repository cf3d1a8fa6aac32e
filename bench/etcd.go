package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// etcdPeer is one member of etcd in this process, which syncs every write to its
// disk, as it does by default.
type etcdPeer struct {
	server *embed.Etcd
	url    string
	dir    string
}

const peerStart = 30 * time.Second

func startEtcd(ctx context.Context, dir string) (_ *etcdPeer, err error) {
	p := &etcdPeer{}
	if p.dir, err = os.MkdirTemp(dir, "watchcast-bench-etcd-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.stop()
			err = fmt.Errorf("start etcd: %w", err)
		}
	}()
	c := embed.NewConfig()
	c.Dir = p.dir
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	free := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{free}, []url.URL{free}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{free}, []url.URL{free}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	if p.server, err = embed.StartEtcd(c); err != nil {
		return nil, err
	}
	p.url = "http://" + p.server.Clients[0].Addr().String()
	select {
	case <-p.server.Server.ReadyNotify():
		return p, nil
	case err := <-p.server.Err():
		return nil, err
	case <-time.After(peerStart):
		return nil, errors.New("it is not ready")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (p *etcdPeer) stop() {
	if p.server != nil {
		p.server.Close()
	}
	os.RemoveAll(p.dir)
}

// putter puts through connections that the writers share.
func (p *etcdPeer) putter(connections int) (put func(key int) error, stop func(), err error) {
	var clients []*clientv3.Client
	stop = func() {
		for _, c := range clients {
			c.Close()
		}
	}
	for range connections {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{p.url}, DialTimeout: peerStart, Logger: zap.NewNop()})
		if err != nil {
			stop()
			return nil, nil, err
		}
		clients = append(clients, c)
	}
	names := keys(writers * keysPerWriter)
	value := string(make([]byte, valueBytes))
	return func(key int) error {
		_, err := clients[key%connections].Put(context.Background(), names[key], value)
		return err
	}, stop, nil
}
