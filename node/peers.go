package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	identityPath = "/v1/identity"
	membersPath  = "/v1/members"

	maxMembersBody = 1 << 20 // of an answer, in bytes
)

// peers asks other nodes over HTTP on their Raft ports.
type peers struct{ client *http.Client }

// newPeers dials as Raft does, encrypted if secure is not nil.
func newPeers(secure *raftTLS) *peers {
	dialer := &net.Dialer{Timeout: transportTimeout}
	return &peers{&http.Client{Transport: &http.Transport{ // no proxy from the environment
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil || secure == nil {
				return conn, err
			}
			secured, err := secure.client(conn, address, transportTimeout)
			if err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			return secured, nil
		},
		DisableKeepAlives: true, // few calls, and nothing to end
	}}}
}

func (p *peers) get(ctx context.Context, address, path string, answer any) error {
	return p.call(ctx, address, http.MethodGet, path, nil, answer)
}

// call asks the node whose Raft address is given. An error that the other node
// answered is a *remoteError.
func (p *peers) call(ctx context.Context, address, method, path string, body, answer any) error {
	return call(ctx, p.client, method, "http://"+address+path, body, answer)
}

// call sends body, if there is one, as JSON, and reads the answer into answer, if
// that is wanted.
func call(ctx context.Context, client *http.Client, method, url string, body, answer any) error {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		if op := (*net.OpError)(nil); errors.As(err, &op) && !op.Timeout() {
			return op.Err // without the URL, which the caller names
		}
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxMembersBody))
	if err != nil {
		return fmt.Errorf("the answer broke off: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var failure memberError
		if json.Unmarshal(data, &failure) != nil || failure.Code == "" {
			return fmt.Errorf("it answers %s with %s; is it a Watchcast node?", req.URL.Path, resp.Status)
		}
		return failure.decode()
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("it answers %s with something else than was expected; is it a Watchcast node? %w", req.URL.Path, err)
	}
	return nil
}

// peerServer answers the other nodes on the Raft port.
type peerServer struct {
	server *http.Server
	wg     sync.WaitGroup
}

// startPeers answers other nodes from now on, and can ask them.
func (n *Node) startPeers() {
	if n.consensus.port == nil {
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+identityPath, func(w http.ResponseWriter, _ *http.Request) { n.writeJSON(w, http.StatusOK, n.introduce()) })
	n.memberRoutes(mux, n.carryOut) // the other node has found out who leads
	s := &peerServer{server: &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}}
	s.wg.Go(func() { s.server.Serve(n.consensus.port.http) }) // until it is closed
	n.onClose("peers", func() error {
		err := s.server.Close()
		s.wg.Wait()
		return err
	})
}
