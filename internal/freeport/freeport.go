// Package freeport finds addresses for the tests of nodes, which must know each
// other's before they listen.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
)

// Ports below those that Linux gives to who asks for any.
const first, ports = 10000, 22768

var next atomic.Uint32

func init() { next.Store(rand.Uint32N(ports)) } // another process begins elsewhere

// Address returns a loopback address that nobody listens on, with a port that the
// system gives to nobody who asks for any, and that this process was not given before:
// connections and listeners of other tests would take it before it is used.
func Address(t testing.TB) string {
	t.Helper()
	for range ports {
		addr := fmt.Sprintf("127.0.0.1:%d", first+next.Add(1)%ports)
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	panic("unreachable")
}
