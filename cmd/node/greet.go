package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/watchcast/watchcast/node"
)

// greet says what runs where, and what to type next.
func greet(w io.Writer, f *flags, n *node.Node) {
	where := "data in " + node.DefaultDataDir
	switch {
	case f.Dev:
		where = "everything in memory"
	case f.Data != "":
		where = "data in " + f.Data
	}
	fmt.Fprintf(w, "Watchcast %s is ready, %s\n\n", n.ID(), where)
	fmt.Fprintf(w, "  NATS    %s\n", n.NATSURL())
	if n.HTTPURL() != "" {
		fmt.Fprintf(w, "  HTTP    %s\n", n.HTTPURL())
	}
	if n.Leader() != n.ID() {
		fmt.Fprintf(w, "  leader  %s\n", n.Leader())
	}
	server := ""
	if url := n.NATSURL(); !strings.HasSuffix(url, "//"+node.DefaultNATS) {
		server = " -s " + url
	}
	fmt.Fprintf(w, `
Watch a key, and change it from another terminal:

  nats sub%[1]s watch.mykey
  nats req%[1]s kv.put.mykey hello

Ctrl-C stops the node.
`, server)
}
