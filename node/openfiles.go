package node

import (
	"errors"
	"fmt"
	"math"
)

// ErrOpenFiles says that the process may not open as many files as a node needs; the text says
// how many those are.
var ErrOpenFiles = errors.New("node: too few open files")

// Shares of the files that the process may open. Every connection is one, and strangers make
// as many as they like; the node itself must find one when its log goes on in the next segment.
const (
	leastFiles   = 128
	fileShare    = 8   // of the limit: so much for HTTP, for strangers at the Raft address, and for the node itself
	ownFiles     = 64  // at least for the node itself: listeners, log, snapshots, other nodes, certificates
	maxStrangers = 256 // connections of HTTP at a time, and of strangers at the Raft address

	segmentBytes = 64 << 20 // of the log, in bytes
	ownSegments  = 8        // that ownFiles are enough for
	mostClients  = 64 << 10
)

// fileShares says how many connections may be open at a time.
type fileShares struct {
	clients int // of NATS, at the embedded broker
	http    int
	raft    int // at the Raft address, of whom is not known yet to be a node
}

// share divides so many files. The error wraps [ErrOpenFiles].
func (c *Config) share(files int) (fileShares, error) {
	segments := 0
	if !c.InMemory { // the log has half of MaxLogBytes from before the snapshot
		segments = int(max(0, min(c.MaxLogBytes/2/segmentBytes*3, math.MaxInt32/4)-ownSegments))
	}
	if need := leastFiles + 2*segments; files < need {
		return fileShares{}, fmt.Errorf("%w: the process may have %d, and a node needs %d or more; raise the limit (ulimit -n, LimitNOFILE of systemd), of which each client takes one", ErrOpenFiles, files, need)
	}
	s := fileShares{http: min(maxStrangers, files/fileShare), raft: min(maxStrangers, files/fileShare)}
	s.clients = min(mostClients, files-s.http-s.raft-max(ownFiles, files/fileShare)-segments)
	return s, nil
}

// checkFiles says how many connections there may be.
func (c *Config) checkFiles() error {
	if c.MaxClients < 0 {
		return badConfig("%s is %d; give 1 or more", field("MaxClients"), c.MaxClients)
	}
	if c.MaxClients > 0 && c.NATSURL != "" {
		return badConfig("%s is for the embedded broker, and %s uses an existing one; leave it out", field("MaxClients"), field("NATSURL"))
	}
	files := c.openFiles
	if files == 0 {
		files = openFiles()
	}
	var err error
	if c.shares, err = c.share(files); err != nil {
		return err
	}
	if c.MaxClients > c.shares.clients {
		return badConfig("%s is %d, and with %d open files there is room for %d; give less, or raise the limit (ulimit -n, LimitNOFILE of systemd)", field("MaxClients"), c.MaxClients, files, c.shares.clients)
	}
	if c.MaxClients > 0 {
		c.shares.clients = c.MaxClients
	}
	return nil
}
