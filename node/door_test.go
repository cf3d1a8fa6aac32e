package node

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

// knock connects, says something, and leaves it at that.
func knock(t *testing.T, addr, says string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.Write([]byte(says)) // fails where it is turned away
	return conn
}

// TestStrangersAtTheRaftAddress: connections of whom is not known to be a node are bounded,
// whatever they say, and there is room again when they are gone. The log has a line of it.
func TestStrangersAtTheRaftAddress(t *testing.T) {
	t.Parallel()
	var log logged
	c := single(t)
	c.openFiles = 128
	c.ID, c.Raft, c.Logger = "n1", "127.0.0.1:0", slog.New(slog.NewTextHandler(&log, nil))
	n := lead(t, c)
	port := n.consensus.port
	addr := port.listener.Addr().String()
	for _, says := range []string{"", "G", "GET /v1/identity HTTP/1.1\r\n", helloMagic, "\x07"} {
		var strangers []net.Conn
		eventually(t, "no more are let in, who say "+says, func() bool {
			strangers = append(strangers, knock(t, addr, says))
			return port.door.open.Load() == int64(port.door.most)
		})
		for _, conn := range strangers {
			conn.Close()
		}
		eventually(t, "those that are gone are forgotten, who said "+says, func() bool { return port.door.open.Load() == 0 })
	}
	for range port.door.most + 1 {
		knock(t, addr, "")
	}
	eventually(t, "the log says so", func() bool { return len(log.lines("refused a connection: there are too many")) == 1 })
}

// TestNodesAreNoStrangers: the connections that nodes have with each other do not count among
// those of strangers.
func TestNodesAreNoStrangers(t *testing.T) {
	t.Parallel()
	for _, n := range clusterOf(t, 3, inMemory) {
		eventually(t, "nobody is strange to "+n.ID(), func() bool { return n.consensus.port.door.open.Load() == 0 })
	}
}

// TestFullWeb: where HTTP has too many connections, who comes is told so, encrypted or not, and
// how the node is he learns all the same.
func TestFullWeb(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"http", "https"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serving(t)
			c.openFiles = 128
			if name == "https" {
				files := newAuthority(t).issue()
				c.HTTPTLS = HTTPTLS{files.Cert, files.Key}
			}
			n := lead(t, c)
			most := n.config.shares.http
			_, addr, _ := strings.Cut(n.HTTPURL(), "://")
			encryption := &tls.Config{InsecureSkipVerify: true}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: encryption}}
			var idle []net.Conn
			for range most * 3 / 4 {
				conn := knock(t, addr, "")
				if name == "https" {
					conn = tls.Client(conn, encryption)
				}
				if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: n1\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				idle = append(idle, conn)
			}
			eventually(t, "they are in", func() bool { return n.web.door.open.Load() == int64(len(idle)) })
			get := func(path string) (*http.Response, string) {
				t.Helper()
				resp, err := client.Get(n.HTTPURL() + path)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Error(err)
				}
				return resp, string(body)
			}
			if resp, body := get("/v1/status"); resp.StatusCode != http.StatusServiceUnavailable || !resp.Close || !strings.Contains(body, "too many connections") {
				t.Errorf("%s %s", resp.Status, body)
			}
			for _, path := range []string{"/healthz", "/readyz"} {
				if resp, body := get(path); resp.StatusCode != http.StatusOK || !resp.Close {
					t.Errorf("%s: %s %s", path, resp.Status, body)
				}
			}
			for _, conn := range idle {
				conn.Close()
			}
			eventually(t, "there is room again", func() bool { resp, _ := get("/v1/status"); return resp.StatusCode == http.StatusOK })
		})
	}
}
