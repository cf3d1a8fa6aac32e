package node

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// door bounds how many connections strangers have at an address.
type door struct {
	name    string // of the address
	most    int
	log     *slog.Logger
	repeats *repeats
	open    atomic.Int64
}

func newDoor(name string, most int, log *slog.Logger) *door {
	return &door{name: name, most: most, log: log, repeats: newRepeats()}
}

// enter lets a connection in, as that of so many, unless there are too many. The door must be
// told when it is to count no more.
func (d *door) enter(conn net.Conn) (of int, ok bool) {
	if of = int(d.open.Add(1)); of <= d.most {
		return of, true
	}
	d.leave()
	d.full(conn.RemoteAddr())
	return of, false
}

func (d *door) leave() { d.open.Add(-1) }

// full says that somebody is turned away.
func (d *door) full(who net.Addr) {
	d.repeats.log(d.log, slog.LevelWarn, d.name, "refused a connection: there are too many", "at", d.name, "address", who.String(), "limit", d.most)
}

// webDoor is the door of HTTP, as a listener. Who comes to the last quarter is told by HTTP
// that there are too many, and asked to go; but how the node is he learns all the same. Who
// comes when that is taken, too, is turned away without a word.
type webDoor struct {
	net.Listener
	*door
}

// Accept implements [net.Listener].
func (l webDoor) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		of, ok := l.enter(conn)
		if ok {
			return &webConn{Conn: conn, door: l.door, late: of > l.most*3/4}, nil
		}
		conn.Close()
	}
}

// webConn is a connection that came through a webDoor.
type webConn struct {
	net.Conn
	door *door
	late bool // came to the last quarter
	once sync.Once
}

func (c *webConn) Close() error {
	c.once.Do(c.door.leave)
	return c.Conn.Close()
}

// CloseWrite has the server end a connection so that its answer is read.
func (c *webConn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// lateTo refuses requests of connections to the last quarter, but for checks of health.
func (d *door) lateTo(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _ := r.Context().Value(webConnKey{}).(*webConn)
		if conn == nil || !conn.late {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close")
		if public(r) {
			next.ServeHTTP(w, r)
			return
		}
		d.full(conn.RemoteAddr())
		http.Error(w, "too many connections; close some, or repeat later", http.StatusServiceUnavailable)
	})
}

type webConnKey struct{}

// webConnOf finds the connection below what encrypts it.
func webConnOf(conn net.Conn) *webConn {
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	c, _ := conn.(*webConn)
	return c
}
