// Package freeport finds addresses for nodes of tests and measurements, which must know
// each other's before they listen.
package freeport

import (
	"errors"
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

// ErrNone says that no port is free.
var ErrNone = errors.New("freeport: no port is free")

// Find returns a loopback address that nobody listens on, with a port that the
// system gives to nobody who asks for any, and that this process was not given before:
// connections and listeners of others would take it before it is used, or while who uses
// it is started again.
func Find() (string, error) {
	for range ports {
		addr := fmt.Sprintf("127.0.0.1:%d", first+next.Add(1)%ports)
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr, nil
		}
	}
	return "", ErrNone
}

// Address is Find for a test.
func Address(t testing.TB) string {
	t.Helper()
	addr, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
