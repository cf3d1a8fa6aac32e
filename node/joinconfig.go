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
		return badConfig("%s is %q; give the host:port at which the other nodes reach this one", field("RaftAdvertise"), c.RaftAdvertise)
	}
	if c.RaftAdvertise != "" && c.Raft == "" {
		return badConfig("%s needs %s, the address this node listens on for the others", field("RaftAdvertise"), field("Raft"))
	}
	if own, ok := c.Peers[c.ID]; ok && c.RaftAdvertise != "" && c.RaftAdvertise != own {
		return badConfig("%s is %q, and %s have %q for this node; give one", field("RaftAdvertise"), c.RaftAdvertise, field("Peers"), own)
	}
	if c.Join == "" {
		if c.JoinCA != "" {
			return badConfig("%s is for a node that joins a running cluster; give %s, or leave it out", field("JoinCA"), field("Join"))
		}
		if c.Nonvoter {
			return badConfig("%s is for a node that joins a running cluster; give %s, or leave it out", field("Nonvoter"), field("Join"))
		}
		return nil
	}
	if u, err := url.Parse(c.Join); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return badConfig("%s is %q; give the HTTP URL of a node, such as http://127.0.0.1:8080", field("Join"), c.Join)
	}
	if _, err := c.joinTLS(); err != nil {
		return badConfig("%s: %w", field("JoinCA"), err)
	}
	if len(c.Peers) > 0 {
		return badConfig("%s and %s exclude each other: a node joins a running cluster, or is one of those that found it", field("Join"), field("Peers"))
	}
	if c.Raft == "" {
		return badConfig("%s needs %s, the address this node listens on for the others", field("Join"), field("Raft"))
	}
	if own := c.raftAdvertise(); !dialable(own) {
		return badConfig("%s needs an address at which the others reach this node, and %s is %q; give %s, or a %s with host and port", field("Join"), field("Raft"), c.Raft, field("RaftAdvertise"), field("Raft"))
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
