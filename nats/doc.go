// Package nats carries the watch over core NATS: subjects and messages, the
// publisher that turns a ring of events into messages, the key-value service that
// answers requests, and a client of both.
//
// Anyone with a NATS client can take part; nothing of this package is needed to
// watch (subscribe to watch.<key>) or to write (request kv.put.<key>).
//
// # What a caller may rely on
//
//   - The [Publisher] reads the ring by a cursor of its own, so a stalled
//     broker delays neither writes nor in-process watchers.
//   - Events go out in revision order on one connection. Nothing counts as
//     published before the broker has answered a ping sent behind it; after a
//     disconnect the publisher goes back to there. So an event may repeat, and
//     one that cannot be published any more is announced as lost, by its range,
//     on _watch.reset.
//   - Nodes answer the publisher's beacons ([Hearing]); what has reached all of them
//     is safe ([Audience], [Publisher.Safe]), and the next leader goes on behind it.
//   - A [Service] hands requests to its backend in the order in which they
//     arrived, and never waits for one before it takes the next.
//
// # Clients
//
// A [Client] sends requests until they are answered. Its [Watch] becomes equal to the
// store again, whatever was lost on the way; how is the matter of view (where each key
// stands, and what that says of a loss), pulse (what beacons and the connection give
// reason to doubt) and Watch.run (asking the leader for what is missing).
//
// # Goroutines
//
// [Publisher.Run] blocks its caller and waits for the goroutines it starts.
// [StartService] starts one goroutine for replies and one for reads, and these one for
// each listing that is open, up to [MaxListings]. [Service.Stop] waits for all, and so
// does [Replica.Stop].
//
// A [Client] starts one goroutine with its first watch, and each [Watch] one, beside that
// of the client library; [Client.Close] and [Watch.Stop] wait for them.
package nats
