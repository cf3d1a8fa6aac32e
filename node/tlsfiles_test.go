package node

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/internal/freeport"
)

// TestBrokenFiles replaces the TLS files of a node that runs by broken ones, in every way
// that happens: those that were good stay in use, for new connections, too, the log says
// so in one line a period that names the file, and good ones count again.
func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(t *testing.T, path string) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	half := func(t *testing.T, path string) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, string(data[:len(data)/2]))
	}
	type breakage struct {
		name string
		do   func(t *testing.T, f RaftTLS)
		ca   bool // which not everybody reads
	}
	breakages := []breakage{
		{"certificate is empty", func(t *testing.T, f RaftTLS) { write(t, f.Cert, "") }, false},
		{"certificate cut short", func(t *testing.T, f RaftTLS) { half(t, f.Cert) }, false},
		{"certificate gone", func(t *testing.T, f RaftTLS) { remove(t, f.Cert) }, false},
		{"key is garbage", func(t *testing.T, f RaftTLS) { write(t, f.Key, "garbage") }, false},
		{"key cut short", func(t *testing.T, f RaftTLS) { half(t, f.Key) }, false},
		{"key gone", func(t *testing.T, f RaftTLS) { remove(t, f.Key) }, false},
		{"key is a directory", func(t *testing.T, f RaftTLS) {
			remove(t, f.Key)
			if err := os.Mkdir(f.Key, 0o700); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"key of another certificate", func(t *testing.T, f RaftTLS) {
			other := newAuthority(t)
			other.into(RaftTLS{Cert: f.Cert + ".other", Key: f.Key, CA: f.CA + ".other"})
		}, false},
		{"CA is empty", func(t *testing.T, f RaftTLS) { write(t, f.CA, "") }, true},
		{"CA cut short", func(t *testing.T, f RaftTLS) { half(t, f.CA) }, true},
		{"CA gone", func(t *testing.T, f RaftTLS) { remove(t, f.CA) }, true},
	}
	for _, c := range []struct {
		name  string
		said  string // in the log
		ca    bool   // reads one
		set   func(c *Config, f RaftTLS)
		shown func(t *testing.T, n *Node, client RaftTLS, config *tls.Config) (*x509.Certificate, error)
	}{
		{"Raft", "cannot use the new TLS files for Raft", true, func(c *Config, f RaftTLS) {
			c.Raft, c.RaftTLS = freeport.Address(t), f
			c.Peers = map[string]string{DefaultID: c.Raft}
		}, func(t *testing.T, n *Node, client RaftTLS, config *tls.Config) (*x509.Certificate, error) {
			if err := askVote(t, &client, n.config.Raft); err != nil { // it takes the client's certificate, too
				return nil, err
			}
			return peerOf(n.config.Raft, config)
		}},
		{"HTTP", "cannot use the new TLS files for HTTP", false, func(c *Config, f RaftTLS) {
			c.HTTP, c.HTTPTLS = freeport.Address(t), HTTPTLS{f.Cert, f.Key}
		}, func(t *testing.T, n *Node, client RaftTLS, config *tls.Config) (*x509.Certificate, error) {
			return peerOf(n.config.HTTP, config)
		}},
		{"NATS", "cannot use the new TLS files for NATS", true, func(c *Config, f RaftTLS) {
			c.NATSConfig = natsConfigFile(t, oneUser+tlsBlock(f, true))
		}, func(t *testing.T, n *Node, client RaftTLS, config *tls.Config) (*x509.Certificate, error) {
			conn, err := natsgo.Connect(n.NATSURL(), natsgo.UserInfo("app", "secret"), natsgo.Secure(config), natsgo.Timeout(patience))
			if err != nil {
				return nil, err
			}
			defer conn.Close()
			if _, err := revisionOf(request(t, conn, "kv.put.k", nil)); err != nil {
				return nil, err
			}
			state, err := conn.TLSConnectionState()
			if err != nil {
				return nil, err
			}
			return state.PeerCertificates[0], nil
		}},
	} {
		for _, b := range breakages {
			if b.ca && !c.ca {
				continue
			}
			t.Run(c.name+", "+b.name, func(t *testing.T) {
				t.Parallel()
				ca := newAuthority(t)
				files, theirs := ca.issue(), ca.issue()
				pair, err := tls.LoadX509KeyPair(theirs.Cert, theirs.Key)
				if err != nil {
					t.Fatal(err)
				}
				client := &tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{pair}}
				client.RootCAs.AppendCertsFromPEM(ca.pem)
				log := &logged{}
				config := single(t)
				config.Logger = slog.New(slog.NewTextHandler(log, nil))
				c.set(&config, files)
				n := lead(t, config)
				shown := func() string {
					t.Helper()
					cert, err := c.shown(t, n, theirs, client)
					if err != nil {
						t.Fatal(err)
					}
					return cert.SerialNumber.String()
				}
				first, began := shown(), time.Now()
				b.do(t, files)
				eventually(t, "the broken files are told", func() bool {
					if now := shown(); now != first {
						t.Fatalf("certificate %s is shown; want the last good one, %s", now, first)
					}
					return len(log.lines(c.said)) > 0
				})
				told := time.Now()
				eventually(t, "they are read again", func() bool {
					if now := shown(); now != first {
						t.Fatalf("certificate %s is shown; want the last good one, %s", now, first)
					}
					return time.Since(told) > rereadPeriod*3/2
				})
				periods := 1 + int(time.Since(began)/repeatPeriod)
				named := filepath.Dir(files.Cert)
				if config.NATSConfig != "" {
					named = config.NATSConfig // nats-server tells the place there, and what is wrong with which file
				}
				if lines := log.lines(c.said); len(lines) > periods || !strings.Contains(lines[0], named) || strings.Contains(lines[0], `\n`) {
					t.Errorf("logged %q; want one line a period that names the file", lines)
				}
				if info, err := os.Stat(files.Key); err == nil && info.Mode().Type() == fs.ModeDir {
					remove(t, files.Key)
				}
				ca.into(files)
				eventually(t, "good files count again", func() bool { return shown() != first })
				put(t, n, "k", "the node goes on")
			})
		}
	}
}

// peerOf returns the certificate that is shown at an address.
func peerOf(addr string, config *tls.Config) (*x509.Certificate, error) {
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}
