package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/watchcast/watchcast/node"
)

// TestMain lets the test binary be the program itself.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_EXAMPLE") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func example(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
	return cmd
}

// started runs the example at a broker, and returns what it prints.
func started(t *testing.T, ctx context.Context, url string) (cmd *exec.Cmd, lines *bufio.Scanner, stderr *bytes.Buffer) {
	t.Helper()
	cmd, stderr = example(ctx, url), new(bytes.Buffer)
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(stdout), stderr
}

// TestSubscribe runs the example against a node and changes a key.
func TestSubscribe(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it takes a second
	defer cancel()
	n, err := node.Start(ctx, node.Config{InMemory: true, NATS: "127.0.0.1:0", HTTP: node.Off})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()

	cmd, lines, stderr := started(t, ctx, n.NATSURL())
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("printed %q; want %q; on standard error:\n%s", lines.Text(), want, stderr)
		}
	}
	expect("subscribed to watch.> at " + n.NATSURL())
	put, err := n.Put(ctx, "app.color", []byte("dark blue"))
	if err != nil {
		t.Fatal(err)
	}
	expect(fmt.Sprintf(`watch.app.color put %d "dark blue"`, put))
	deleted, err := n.Delete(ctx, "app.color")
	if err != nil {
		t.Fatal(err)
	}
	expect(fmt.Sprintf(`watch.app.color delete %d ""`, deleted))

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if lines.Scan() {
		t.Errorf("printed %q too", lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v; on standard error:\n%s", err, stderr)
	}
}

// TestSubscribeRefused: a client that is refused when it comes again, because there are users
// now, gives up; the program says so and ends.
func TestSubscribeRefused(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it takes some seconds
	defer cancel()
	open, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	open.Start()
	defer open.Shutdown()
	cmd, lines, stderr := started(t, ctx, open.ClientURL())
	if !lines.Scan() {
		t.Fatalf("printed nothing; on standard error:\n%s", stderr)
	}
	if err := open.ReloadOptions(&server.Options{Host: "127.0.0.1", Port: open.Addr().(*net.TCPAddr).Port, NoSigs: true, Authorization: "secret"}); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), "closed") {
		t.Errorf("%v; on standard error:\n%s", err, stderr)
	}
}

// TestSubscribeUsage: without a URL the program says how it is used.
func TestSubscribeUsage(t *testing.T) {
	out, err := example(t.Context()).CombinedOutput()
	exit, ok := err.(*exec.ExitError)
	if !ok || exit.ExitCode() != 2 || string(out) != "usage: subscribe URL\n" {
		t.Errorf("%v: %s", err, out)
	}
}
