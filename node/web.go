package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/watchcast/watchcast/fanout"
)

// web is the node's HTTP server.
type web struct {
	url    string
	door   *door
	server *http.Server
	wg     sync.WaitGroup
	err    error // why it ended; read after wg
}

const (
	webStop  = time.Second     // for requests under way
	bodyTime = 5 * time.Second // for what follows the head of a request
)

func startWeb(n *Node) (*web, error) {
	l, err := net.Listen("tcp", n.config.HTTP)
	if err != nil {
		return nil, listenError("HTTP", n.config.HTTP, err)
	}
	w := &web{url: "http://" + l.Addr().String(), door: newDoor("HTTP", n.config.shares.http, n.log)}
	l = webDoor{l, w.door}
	handler, err := n.guarded(routes(n))
	if err == nil && n.config.HTTPTLS.on() {
		w.url = "https://" + l.Addr().String()
		l, err = n.config.HTTPTLS.listener(l, n.log)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	w.server = &http.Server{
		Handler: w.door.lateTo(bodyInTime(handler)),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, webConnKey{}, webConnOf(conn))
		},
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug), // of who speaks no TLS, say
	}
	w.wg.Go(func() { w.err = w.server.Serve(l) })
	return w, nil
}

// bodyInTime bounds how long a request may take to come, also one that nobody reads to its
// end: the server waits for it all the same. Who takes a long one ([movingReader]) says for
// how long himself. The server's own limit would go on while a request that has come is
// carried out, and cancel it.
func bodyInTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // fails where the connection is gone
		}
		next.ServeHTTP(w, r)
	})
}

func (w *web) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), webStop)
	defer cancel()
	err := w.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = w.server.Close() // whoever is still there was told nothing yet
	}
	w.wg.Wait()
	if !errors.Is(w.err, http.ErrServerClosed) {
		err = errors.Join(err, w.err)
	}
	return err
}

func routes(n *Node) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newMetrics(n), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if n.dispatch != nil {
		registry.MustRegister(n.dispatch)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "Watchcast node "+n.config.ID+"\n\n"+
			"/v1/status  what this node knows, JSON\n"+
			"/v1/members who belongs to the cluster, JSON\n"+
			"/v1/backup  GET the whole state, PUT another in its place\n"+
			"/healthz    200 while the process answers\n"+
			"/readyz     200 while it knows a leader and is up to date, else 503 and why\n"+
			"/metrics    Prometheus\n")
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", n.serveReady)
	mux.HandleFunc("GET /v1/status", n.serveStatus)
	n.memberRoutes(mux, n.ask)
	mux.HandleFunc("GET /v1/backup", n.serveBackup)
	mux.HandleFunc("PUT /v1/backup", n.serveRestore)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

// Status is what a node knows of itself: the body of /v1/status.
type Status struct {
	ID       string       `json:"id"`
	Version  string       `json:"version"`
	Cluster  string       `json:"cluster"`  // id; empty before the first leader
	Leader   string       `json:"leader"`   // node id; empty for none
	Term     uint64       `json:"term"`     // Raft's
	Revision uint64       `json:"revision"` // of the last command that was applied here
	Keys     int          `json:"keys"`
	NATS     string       `json:"nats"`   // URL for clients
	Events   fanout.Stats `json:"events"` // of in-process watchers
	Log      LogSize      `json:"log"`
	Clients  Clients      `json:"clients"`
	Slow     uint64       `json:"slow_clients"`        // times that the embedded broker or the node has cut one off; see docs/metrics.md
	Publish  *Published   `json:"published,omitempty"` // on the leader
}

// Clients are those of the embedded broker.
type Clients struct {
	Connected int `json:"connected"`
	Limit     int `json:"limit"` // of those that are let in; 0 without an embedded broker
}

// LogSize is how much of Raft's log a start would apply again, in bytes, which is not all
// that it takes of the disk: see Config.MaxLogBytes.
type LogSize struct {
	Weight   int64  `json:"weight"`   // of what lies behind the newest snapshot
	Limit    int64  `json:"limit"`    // at which the next one is taken
	Snapshot int64  `json:"snapshot"` // of the newest one; 0 if there is none
	Damaged  uint64 `json:"damaged"`  // snapshots that were found damaged since the start
}

// Published is how far a leader has published.
type Published struct {
	Confirmed uint64 `json:"confirmed"` // the leader's broker has everything up to this revision
	Safe      uint64 `json:"safe"`      // the broker of every live node heard within 3 s has
	Resets    uint64 `json:"resets"`    // announced in this term
	Events    uint64 `json:"events"`    // published in this term, repeats included
	Skipped   uint64 `json:"skipped"`   // not published, because nobody subscribed to them
}

// Status returns what the node knows of itself.
func (n *Node) Status() Status {
	cluster, _ := n.machine.Cluster()
	s := Status{
		ID:       n.config.ID,
		Version:  n.config.Version,
		Cluster:  cluster.ID,
		Leader:   n.Leader(),
		Term:     n.consensus.raft.CurrentTerm(),
		Revision: n.machine.Revision(),
		Keys:     n.machine.Len(),
		NATS:     n.NATSURL(),
		Events:   n.registry.Stats(),
		Log:      n.compaction.logSize(),
		Clients:  n.broker.clients(),
		Slow:     n.broker.slowClients(),
	}
	s.Log.Damaged = n.consensus.known.damaged()
	if e, _ := n.currentEpoch(); e != nil {
		s.Publish = &Published{Confirmed: e.publisher.Confirmed(), Safe: e.publisher.Safe(), Resets: e.publisher.Resets(), Events: e.publisher.Events(), Skipped: e.publisher.Skipped()}
	}
	return s
}

func (n *Node) serveStatus(w http.ResponseWriter, _ *http.Request) {
	n.writeJSON(w, http.StatusOK, n.Status())
}

func (n *Node) writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(body); err != nil {
		n.log.Debug("an answer was not sent", "error", err)
	}
}
