// Command embedded runs a whole Watchcast node inside a program: it watches
// app.> in process, makes a few changes, and prints what the watcher receives.
// Everything is in memory, and the node's NATS broker takes a free port.
//
//	go run -C examples ./embedded
//	go run -C examples ./embedded -nats 127.0.0.1:4222    # a port that others know
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/node"
)

func main() {
	nats := flag.String("nats", "127.0.0.1:0", "listen for NATS clients on this `host:port`")
	flag.Parse()
	if err := run(context.Background(), *nats); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, nats string) (err error) {
	n, err := node.Start(ctx, node.Config{InMemory: true, NATS: nats, HTTP: node.Off})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()

	w, err := n.Watch(ctx, "app.>")
	if err != nil {
		return err
	}
	defer w.Stop()

	for _, color := range []string{"blue", "green"} {
		if _, err := n.Put(ctx, "app.color", []byte(color)); err != nil {
			return err
		}
	}
	if _, err := n.Delete(ctx, "app.color"); err != nil {
		return err
	}
	for e := range w.Events() {
		fmt.Printf("%s %s %q at revision %d, was %q\n", e.Op, e.Key, e.Value, e.Revision, e.PrevValue)
		if e.Op == fanout.Delete {
			break
		}
	}
	return nil
}
