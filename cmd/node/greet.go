package main

import (
	"fmt"
	"io"
	"net"
	"net/url"
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
	fmt.Fprintf(w, "  NATS    %s\n", reachable(n.NATSURL()))
	if n.HTTPURL() != "" {
		fmt.Fprintf(w, "  HTTP    %s\n", reachable(n.HTTPURL()))
	}
	if n.Leader() != n.ID() {
		fmt.Fprintf(w, "  leader  %s\n", n.Leader())
	}
	server := ""
	if at := reachable(n.NATSURL()); !strings.HasSuffix(at, "//"+node.DefaultNATS) {
		server = " -s " + at
	}
	who := ""
	if f.NATSConfig != "" {
		who = ", with the users and TLS of " + f.NATSConfig
	}
	fmt.Fprintf(w, `
Watch a key, and change it from another terminal%[2]s:

  nats sub%[1]s %[3]s.mykey
  nats req%[1]s %[4]s.put.mykey hello

Ctrl-C stops the node.
`, server, who, f.WatchRoot, f.KVRoot)
}

// reachable gives a URL to type on this machine for one that names the address
// listened on; it leaves a list of URLs, and one it does not understand, alone.
func reachable(listen string) string {
	u, err := url.Parse(listen)
	if err != nil {
		return listen
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return listen
	}
	u.Host = net.JoinHostPort(nearby(host), port)
	return u.String()
}
