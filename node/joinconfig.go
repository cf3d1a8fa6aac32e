package node

import (
	"net"
	"net/url"
	"strings"
)

// validID reports whether a node may have this id.
func validID(id string) bool {
	return id != "" && len(id) <= 64 && !strings.ContainsFunc(id, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

// checkJoin refuses what a node cannot join with. The Raft address goes into the
// cluster's membership, so it must be one that others can dial, also tomorrow.
func (c *Config) checkJoin() error {
	if c.RaftAdvertise != "" && !dialable(c.RaftAdvertise) {
		return badConfig("RaftAdvertise is %q; give the host:port at which the other nodes reach this one", c.RaftAdvertise)
	}
	if c.RaftAdvertise != "" && c.Raft == "" {
		return badConfig("RaftAdvertise needs Raft, the address this node listens on for the others")
	}
	if own, ok := c.Peers[c.ID]; ok && c.RaftAdvertise != "" && c.RaftAdvertise != own {
		return badConfig("RaftAdvertise is %q, and Peers have %q for this node; give one", c.RaftAdvertise, own)
	}
	if c.Join == "" {
		if c.JoinCA != "" {
			return badConfig("JoinCA is for a node that joins a running cluster; give Join, or leave it out")
		}
		if c.Nonvoter {
			return badConfig("Nonvoter is for a node that joins a running cluster; give Join, or leave it out")
		}
		return nil
	}
	if u, err := url.Parse(c.Join); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return badConfig("Join is %q; give the HTTP URL of a node, such as http://127.0.0.1:8080", c.Join)
	}
	if _, err := c.joinTLS(); err != nil {
		return badConfig("JoinCA: %v", err)
	}
	if len(c.Peers) > 0 {
		return badConfig("Join and Peers exclude each other: a node joins a running cluster, or is one of those that found it")
	}
	if c.Raft == "" {
		return badConfig("Join needs Raft, the address this node listens on for the others")
	}
	if own := c.raftAdvertise(); !dialable(own) {
		return badConfig("Join needs an address at which the others reach this node, and Raft is %q; give RaftAdvertise, or a Raft with host and port", c.Raft)
	}
	return nil
}

// raftAdvertise returns where others reach this node's Raft; empty for where it
// turns out to listen.
func (c *Config) raftAdvertise() string {
	if c.RaftAdvertise != "" {
		return c.RaftAdvertise
	}
	if own, ok := c.Peers[c.ID]; ok {
		return own
	}
	if dialable(c.Raft) {
		return c.Raft
	}
	return ""
}

// dialable reports whether addr names one place to connect to.
func dialable(addr string) bool {
	host, port, err := splitAddress(addr)
	ip := net.ParseIP(host)
	return err == nil && host != "" && port != 0 && (ip == nil || !ip.IsUnspecified())
}
