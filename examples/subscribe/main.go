// Command subscribe is a plain NATS client, with nothing of Watchcast in it: it
// prints every change of every key that a node publishes, until Ctrl-C. Clients
// in other languages look just like it.
//
//	go run ./cmd/node                                          # in one terminal
//	go run -C examples ./subscribe nats://127.0.0.1:4222       # in another
//	nats req kv.put.mykey hello                                # in a third
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/nats-io/nats.go"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: subscribe URL")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url string) error {
	closed := make(chan error, 1)
	conn, err := nats.Connect(url,
		nats.MaxReconnects(-1), // a node that is away comes back
		nats.ClosedHandler(func(c *nats.Conn) { closed <- c.LastError() })) // for good: it was refused
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Subscribe("watch.>", func(m *nats.Msg) {
		fmt.Printf("%s %s %s %q\n", m.Subject, m.Header.Get("Watch-Op"), m.Header.Get("Watch-Rev"), m.Data)
	})
	if err != nil {
		return err
	}
	if err := conn.Flush(); err != nil { // the broker has the subscription now
		return err
	}
	fmt.Println("subscribed to watch.> at", conn.ConnectedUrlRedacted())
	select {
	case err := <-closed:
		return fmt.Errorf("the connection is closed: %w", err)
	case <-ctx.Done():
		return nil
	}
}
