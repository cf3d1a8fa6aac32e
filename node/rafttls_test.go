package node

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/internal/freeport"
)

// logged is a log that can be read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// lines returns those that have text.
func (l *logged) lines(text string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// raftNode is a node on its own that listens for others with these files.
func raftNode(t *testing.T, files RaftTLS, log *logged) *Node {
	t.Helper()
	c := single(t)
	c.Raft, c.RaftTLS = freeport.Address(t), files
	c.Peers = map[string]string{DefaultID: c.Raft}
	if log != nil {
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	return lead(t, c)
}

// secureTransport is Raft's on a port of its own, not encrypted if secure is nil.
func secureTransport(t *testing.T, secure *raftTLS) *raft.NetworkTransport {
	t.Helper()
	port, err := newRaftPort("127.0.0.1:0", secure, newDoor("Raft", maxStrangers, testLogger(t)))
	if err != nil {
		t.Fatal(err)
	}
	port.raft.open()
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: newStreamLayer(port.raft, nil, secure, acquaintedAs(t, port.listener.Addr().String())), MaxPool: 1, Timeout: patience, Logger: hclog.NewNullLogger(),
	})
	t.Cleanup(func() { transport.Close(); port.Close() })
	return transport
}

// askVote has a node with these files ask another one for its vote, as nodes do; the
// error is that of the way there and back.
func askVote(t *testing.T, files *RaftTLS, addr string) error {
	t.Helper()
	var secure *raftTLS
	if files != nil {
		c, err := files.read()
		if err != nil {
			c = &credentials{ca: x509.NewCertPool()} // what nobody would start with
			pem, _ := os.ReadFile(files.CA)
			c.ca.AppendCertsFromPEM(pem)
			c.cert, _ = tls.LoadX509KeyPair(files.Cert, files.Key)
		}
		secure = &raftTLS{files: *files, patience: patience, log: testLogger(t), repeats: newRepeats(), last: c}
	}
	transport := secureTransport(t, secure)
	var reply raft.RequestVoteResponse
	return transport.RequestVote("", raft.ServerAddress(addr), &raft.RequestVoteRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3}}, &reply)
}

// TestRaftTLSRefuses: who is no node of the cluster gets no answer at the Raft
// address, and the log says why, in one line a period.
func TestRaftTLSRefuses(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	mixed := func(a *authority, changes ...func(*x509.Certificate)) *RaftTLS { // trusts us
		f := a.issue(changes...)
		if err := os.WriteFile(f.CA, ours.pem, 0o600); err != nil {
			t.Fatal(err)
		}
		return &f
	}
	good := ours.issue()
	for _, c := range []struct {
		name  string
		files *RaftTLS
		log   string // empty: it is let in
	}{
		{"a node", &good, ""},
		{"not encrypted", nil, "does not speak TLS"},
		{"of another CA", mixed(theirs), "same CA"},
		{"expired", mixed(ours, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "same CA"},
		{"for servers alone", mixed(ours, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), "same CA"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log logged
			n := raftNode(t, good, &log)
			for range 5 {
				err := within(t, "the question", func() error { return askVote(t, c.files, n.config.Raft) })
				if (err == nil) != (c.log == "") {
					t.Fatalf("asking for a vote: %v", err)
				}
			}
			switch lines := log.lines("refused a connection to the Raft address"); {
			case c.log == "" && len(lines) > 0, c.log != "" && (len(lines) != 1 || !strings.Contains(lines[0], c.log)):
				t.Errorf("logged %q; want one line with %q", lines, c.log)
			}
			put(t, n, "k", "the node goes on")
		})
	}
	t.Run("with TLS 1.2, or without a certificate", func(t *testing.T) {
		n := raftNode(t, good, new(logged))
		pair, err := tls.LoadX509KeyPair(good.Cert, good.Key)
		if err != nil {
			t.Fatal(err)
		}
		for _, config := range []*tls.Config{
			{MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}},
			{},
		} {
			config.InsecureSkipVerify = true
			err := within(t, "the answer", func() error {
				conn, err := tls.Dial("tcp", n.config.Raft, config)
				if err != nil {
					return err
				}
				defer conn.Close()
				_, err = io.ReadAll(conn)
				return err
			})
			if err == nil || !strings.Contains(err.Error(), "remote error: tls: ") {
				t.Errorf("%+v: %v; want it refused", config.MaxVersion, err)
			}
		}
	})
}

// TestRaftTLSChecksWhoIsDialled: a node that has a certificate of the CA, but not for
// the address at which it was dialled, is not believed; nor one of another CA.
func TestRaftTLSChecksWhoIsDialled(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	good, foreign := ours.issue(), theirs.issue()
	if err := askVote(t, &good, raftNode(t, good, nil).config.Raft); err != nil {
		t.Fatalf("a node of the cluster: %v", err)
	}
	// In a layer of its own, because a node would not start with it.
	elsewhere := ours.issue(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"n2.example.com"} })
	for files, want := range map[RaftTLS]string{elsewhere: "127.0.0.1", foreign: "unknown authority"} {
		secure, err := newRaftTLS(files, "", testLogger(t))
		if err != nil {
			t.Fatal(err)
		}
		transport := secureTransport(t, secure)
		if err := askVote(t, &good, string(transport.LocalAddr())); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("dialled: %v; want it refused with %q", err, want)
		}
	}
}

// TestRaftTLSSilence: who connects and says nothing is cut off.
func TestRaftTLSSilence(t *testing.T) {
	t.Parallel()
	files := newAuthority(t).issue()
	secure, err := newRaftTLS(files, "", testLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	secure.patience = 10 * time.Millisecond
	transport := secureTransport(t, secure)
	conn, err := net.Dial("tcp", string(transport.LocalAddr()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the connection stays open: %v", err)
	}
}

// TestRaftTLSCluster: three nodes elect, replicate and restore over encrypted
// connections: a value that is written passes none of them as it is.
func TestRaftTLSCluster(t *testing.T) {
	t.Parallel()
	const secret = "a value that nobody on the way may read"
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprint("encrypted: ", encrypted), func(t *testing.T) {
			ca := newAuthority(t)
			nodes, links := linked(t, 3, func(c *Config) {
				if encrypted {
					c.RaftTLS = ca.issue()
				}
			})
			leader, others := split(t, nodes)
			revision := put(t, leader, "k", secret)
			backup, _ := backupOf(t, leader)
			restoreInto(t, leader, backup)
			last := put(t, leader, "last", "")
			for _, n := range others {
				if e, err := n.Get(bounded(t), "k", Stale(last)); err != nil || string(e.Value) != secret || e.Revision != revision {
					t.Fatalf("%s has %+v, %v", n.ID(), e, err)
				}
			}
			seen := false
			for _, k := range links {
				seen = seen || k.saw(secret)
			}
			if seen == encrypted {
				t.Errorf("the value was read on the way: %v", seen)
			}
		})
	}
}

// TestRaftTLSNewFiles: new files count from the next connection on, without a restart;
// bad ones do not, and the log says so once.
func TestRaftTLSNewFiles(t *testing.T) {
	t.Parallel()
	before, after := newAuthority(t), newAuthority(t)
	files := before.issue()
	old, new := before.issue(), after.issue()
	var log logged
	n := raftNode(t, files, &log)
	want := func(what string, oldWorks, newWorks bool) {
		t.Helper()
		for files, works := range map[RaftTLS]bool{old: oldWorks, new: newWorks} {
			if err := askVote(t, &files, n.config.Raft); (err == nil) != works {
				t.Errorf("%s: with files of the old CA (%v): %v", what, files == old, err)
			}
		}
	}
	want("at first", true, false)
	if err := os.WriteFile(files.Cert, []byte("half a certif"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("with a bad certificate", true, false)
	if lines := log.lines("cannot use the new TLS files"); len(lines) != 1 || !strings.Contains(lines[0], files.Cert) {
		t.Errorf("logged %q; want one line that names %s", lines, files.Cert)
	}
	after.into(files)
	want("with new files", false, true)
}

// TestRaftTLSBadFiles: each mistake gets one line that names the file.
func TestRaftTLSBadFiles(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := ca.issue()
	garbage := good.CA + ".garbage"
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(change func(*RaftTLS)) RaftTLS {
		f := good
		change(&f)
		return f
	}
	foreign := other.issue()
	for _, c := range []struct {
		name     string
		files    RaftTLS
		mentions []string
	}{
		{"key missing", with(func(f *RaftTLS) { f.Key = "" }), []string{"all three files, or none", good.Cert}},
		{"certificate missing", with(func(f *RaftTLS) { f.Cert = "" }), []string{"all three files, or none"}},
		{"CA missing", with(func(f *RaftTLS) { f.CA = "" }), []string{"all three files, or none"}},
		{"no CA there", with(func(f *RaftTLS) { f.CA = "/nowhere/ca.pem" }), []string{"the CA", "/nowhere/ca.pem", "no such file"}},
		{"no certificate there", with(func(f *RaftTLS) { f.Cert = "/nowhere/node.pem" }), []string{"/nowhere/node.pem", "no such file"}},
		{"CA is garbage", with(func(f *RaftTLS) { f.CA = garbage }), []string{garbage, "no certificate in PEM"}},
		{"certificate is garbage", with(func(f *RaftTLS) { f.Cert = garbage }), []string{garbage}},
		{"key is garbage", with(func(f *RaftTLS) { f.Key = garbage }), []string{garbage}},
		{"key of another certificate", with(func(f *RaftTLS) { f.Key = foreign.Key }), []string{good.Cert, foreign.Key}},
		{"of another CA", with(func(f *RaftTLS) { f.CA = foreign.CA }), []string{good.Cert, "serverAuth", foreign.CA, "unknown authority"}},
		{"expired", ca.issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), []string{"expired"}},
		{"for servers alone", ca.issue(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), []string{"clientAuth"}},
		{"for clients alone", ca.issue(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }), []string{"serverAuth"}},
		{"for another address", ca.issue(func(c *x509.Certificate) { c.IPAddresses = []net.IP{{10, 0, 0, 1}} }), []string{"does not cover 127.0.0.1:", "10.0.0.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := single(t)
			config.Raft, config.RaftTLS = freeport.Address(t), c.files
			config.Peers = map[string]string{DefaultID: config.Raft}
			n, err := Start(bounded(t), config)
			if err == nil {
				stop(t, n)
			}
			wantOneLine(t, err, ErrConfig, append(c.mentions, "RaftTLS")...)
		})
	}
	config := single(t)
	config.RaftTLS = good
	_, err := Start(bounded(t), config)
	wantOneLine(t, err, ErrConfig, "RaftTLS needs Raft")

	// What is encrypted may be reached by others; what is not, may not.
	open := Config{Raft: "10.0.0.1:7000", RaftTLS: good, InMemory: true}
	if err := open.check(); err != nil {
		t.Errorf("Raft for all, encrypted: %v", err)
	}
	open.NATS = "10.0.0.1:4222"
	wantOneLine(t, open.check(), ErrConfig, "NATS", "Insecure")
}
