package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/watchcast/watchcast/nats"
)

const demoDescription = `Writes a few changing keys, demo.*, to a running cluster every second, as any NATS client would. It goes on when a leader dies; a line on standard error says when a write was not acknowledged, and when writes go through again.

demo.count goes up by one with every write of it that was acknowledged.

Every flag can also be given in the environment (--server as WATCHCAST_SERVER).

Exit codes: 0 stopped in order, 1 no connection, 2 wrong flags.`

type demoFlags struct {
	Server string `short:"s" placeholder:"URL,..." default:"nats://127.0.0.1:4222" help:"NATS servers (${default})."`
	KVRoot string `name:"kv-root" placeholder:"SUBJECT" default:"kv" help:"Root of the request subjects, as the nodes' own --kv-root (${default})."`
}

// Validate refuses what no server would make right.
func (f *demoFlags) Validate() error {
	if strings.Trim(f.Server, ", ") == "" {
		return errors.New("--server is empty; give the URL of a server")
	}
	if err := (&nats.Subjects{KV: f.KVRoot}).Check(); err != nil {
		return fmt.Errorf("--kv-root: %w", err)
	}
	return nil
}

const (
	writeTimeout = time.Second            // for the answer to one write
	writeRetry   = 100 * time.Millisecond // before the same write again
	sameRequest  = 4 * time.Minute        // the cluster knows a request for five
	serverPing   = time.Second            // so that a server that vanished is left after two
)

// demoCommand is the command demo: the writer of a cluster that is shown
// around, in a process of its own.
func demoCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := &demoFlags{}
	if code, done := parse(f, "node demo", demoDescription, args, stdout, stderr); done {
		return code
	}
	say := func(format string, args ...any) { fmt.Fprintf(stderr, "node demo: "+format+"\n", args...) }
	conn, err := natsgo.Connect(f.Server,
		natsgo.Name("watchcast demo"),
		natsgo.MaxReconnects(-1),
		natsgo.PingInterval(serverPing),
		natsgo.MaxPingsOutstanding(2),
		natsgo.DisconnectErrHandler(func(_ *natsgo.Conn, err error) {
			if err != nil {
				say("disconnected: %v", err)
			}
		}),
		natsgo.ReconnectHandler(func(c *natsgo.Conn) { say("connected again, to %s", c.ConnectedUrlRedacted()) }),
	)
	if err != nil {
		err = nats.RedactError(f.Server, err)
		say("cannot connect to %s: %v%s", nats.Redact(f.Server), err, hint(err))
		return exitFailed
	}
	defer conn.Close()
	fmt.Fprintln(stdout, "Writing demo.time, demo.count and demo.color every second to", conn.ConnectedUrlRedacted())
	demo(ctx, remote{conn, f.KVRoot, say, sameRequest}.put)
	return exitOK
}

// hint says what to do about an error of connecting.
func hint(err error) string {
	switch {
	case errors.Is(err, natsgo.ErrAuthorization), errors.Is(err, natsgo.ErrAuthExpired):
		return "; give user and password in the URL of --server"
	case strings.Contains(err.Error(), "certificate"):
		return "; have SSL_CERT_FILE name the file of its CA, and see the host in --server"
	}
	return "; is a node running there?"
}

// remote writes through the key-value service.
type remote struct {
	conn *natsgo.Conn
	root string // of the request subjects
	say  func(format string, args ...any)
	same time.Duration // how long a write that is repeated is the same request
}

// put repeats a write until it is acknowledged or ctx ends. It is the same request while the
// cluster is sure to know it, so if only the answer was lost it is not carried out again.
func (r remote) put(ctx context.Context, key, value string) {
	m := natsgo.NewMsg(r.root + ".put." + key)
	m.Data = []byte(value)
	m.Header.Set(nats.HeaderRequestID, nuid.Next())
	began := time.Now()
	for failed := false; ; failed = true {
		err := r.try(ctx, m)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && failed:
			r.say("writes go through again")
			return
		case err == nil:
			return
		case !failed:
			r.say("%s=%s is not acknowledged, trying again: %v", key, value, err)
		}
		if time.Since(began) > r.same {
			r.say("%s=%s is not acknowledged within %v, going on with a new request; it may be carried out twice", key, value, r.same)
			m.Header.Set(nats.HeaderRequestID, nuid.Next())
			began = time.Now()
		}
		select {
		case <-time.After(writeRetry):
		case <-ctx.Done():
			return
		}
	}
}

func (r remote) try(ctx context.Context, m *natsgo.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	reply, err := r.conn.RequestMsgWithContext(ctx, m)
	switch {
	case errors.Is(err, natsgo.ErrNoResponders):
		return errors.New("no leader; are a majority of the nodes up and connected?")
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", writeTimeout)
	case err != nil:
		return err
	}
	if code := reply.Header.Get("Nats-Service-Error-Code"); code != "" {
		return fmt.Errorf("%s: %s", code, reply.Header.Get("Nats-Service-Error"))
	}
	return nil
}
