package node

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
)

// What waits in the embedded broker for those who do not take it.
//
// Above three quarters of mostWaiting the broker would hold up who publishes, for 10 ms with
// each 64 KiB. That is for routes, which are not cut off for what waits in them: the other
// setting that it has for this, NoFastProducerStall, drops messages for whoever is so far
// behind, without a word and without cutting him off. A node at the end of such a route would
// say that it has everything, and subscribers would be told of nothing.
//
// Clients are cut off long before, because to hold up a publisher for them is to hold up all
// others, and to drop something without a word is worse than to be told by the connection: at
// once if more than clientWaiting waits for one, and where it is more than behind for a while,
// in which a healthy one takes a burst, or what it has asked for. See limits.
const (
	mostWaiting   = 128 << 20
	clientWaiting = 32 << 20
	behind        = 16 << 20
	behindTime    = time.Second

	// slowPeriod lies between two looks for such clients, of which each touches every
	// connection; but no more than a hundredth of the time goes into them, unless somebody
	// was held up.
	slowPeriod = 50 * time.Millisecond
	slowShare  = 100
)

// limits returns with how much waiting a client is behind, and with how much it is cut off at
// once, where the longest message has so many bytes: what is being written to it counts, too,
// and it may be taking that.
func limits(longest int) (late, most int) {
	return max(behind, longest+behind/2), max(clientWaiting, longest+behind)
}

// restFor returns how long after the beginning of a look the next one may be, by how long it
// took, and the one before. The shorter time is what they cost: a look waits for locks and
// processors now and then, and slow clients are not left alone for a hundred times that.
func restFor(took, before time.Duration) time.Duration { return slowShare * min(took, before) }

// cutSlow cuts off clients of the embedded broker for which too much waits, until ctx ends.
// The node's own connections are none: what waits for those came from clients.
func (b *broker) cutSlow(ctx context.Context, log *slog.Logger, own ...*natsgo.Conn) {
	tick := time.NewTicker(slowPeriod)
	defer tick.Stop()
	repeats := newRepeats()
	since := make(map[uint64]time.Time) // by id: when a client was first seen to be behind
	var stalls int64
	var next time.Time
	var took time.Duration // by the last look
	late, most := limits(b.config.MaxPayload)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		began, before := time.Now(), stalls
		if stalls = b.server.NumStalledClients(); stalls == before && began.Before(next) {
			continue
		}
		slow := b.clientsWith(late, own)
		maps.DeleteFunc(since, func(id uint64, _ time.Time) bool {
			return !slices.ContainsFunc(slow, func(c *server.ConnInfo) bool { return c.Cid == id })
		})
		for _, c := range slow {
			if since[c.Cid].IsZero() {
				since[c.Cid] = began
			}
			if c.Pending <= most && began.Sub(since[c.Cid]) < behindTime {
				continue
			}
			if err := b.server.DisconnectClientByID(c.Cid); err != nil {
				continue // it has gone by itself
			}
			b.cut.Add(1)
			repeats.log(log, slog.LevelWarn, "slow client", "cut off a client that does not take what waits for it; it connects again, and misses what comes meanwhile",
				"client", c.Name, "address", net.JoinHostPort(c.IP, strconv.Itoa(c.Port)), "waiting_bytes", c.Pending)
		}
		last := took
		took = time.Since(began)
		next = began.Add(restFor(took, last))
	}
}

// clientsWith returns the clients for which more than that waits, 64 at most.
func (b *broker) clientsWith(waiting int, own []*natsgo.Conn) (slow []*server.ConnInfo) {
	all, err := b.server.Connz(&server.ConnzOptions{Sort: server.ByPending, Limit: 64})
	if err != nil {
		return nil // it has no such sort, which the tests would miss
	}
	spared := make(map[uint64]bool)
	for _, conn := range own {
		if id, err := conn.GetClientID(); err == nil { // with each connection it is another one
			spared[id] = true
		}
	}
	for _, c := range all.Conns {
		if c.Pending > waiting && !spared[c.Cid] {
			slow = append(slow, c)
		}
	}
	return slow
}

// slowClients returns how often clients were cut off because they did not take what waited
// for them. One that the node cuts off the broker counts, too, if it cannot send it the rest.
func (b *broker) slowClients() uint64 {
	if b.server == nil {
		return 0
	}
	return b.cut.Load() + b.server.NumSlowConsumersClients()
}
