package node

import (
	"net"
	"testing"

	"github.com/watchcast/watchcast/internal/freeport"
)

// TestPortInUse starts nodes on addresses that somebody else listens on: each
// is refused by the name of the field, nothing is left running or locked, and
// the node can be started at once on a free one.
func TestPortInUse(t *testing.T) {
	for _, c := range []struct {
		field string
		set   func(c *Config, addr string)
	}{
		{"NATS", func(c *Config, addr string) { c.NATS = addr }},
		{"HTTP", func(c *Config, addr string) { c.HTTP = addr }},
		{"Routes", func(c *Config, addr string) { c.Routes, c.ClusterSecret = addr, "long enough" }},
		{"Raft", func(c *Config, addr string) { c.Raft = addr }},
	} {
		t.Run(c.field, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			config := single(t)
			c.set(&config, l.Addr().String())
			for range 2 {
				_, err = Start(bounded(t), config)
				wantOneLine(t, err, ErrListen, c.field, l.Addr().String())
			}
			c.set(&config, freeport.Address(t))
			n := lead(t, config)
			revision := put(t, n, "k", "v")
			wantValue(t, n, "k", "v", revision)
		})
	}
}

// TestAddressOfNobody is an address that this machine does not have.
func TestAddressOfNobody(t *testing.T) {
	t.Parallel()
	config := single(t)
	config.NATS, config.Insecure = "192.0.2.1:4222", true
	_, err := Start(bounded(t), config)
	wantOneLine(t, err, ErrListen, "NATS", "192.0.2.1:4222")
}
