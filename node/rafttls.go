package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// RaftTLS encrypts the Raft traffic between the nodes and has each prove to the
// other that it belongs to the cluster (TLS 1.3). The files are PEM. They are read
// again for every new connection, so that a certificate can be replaced without a
// restart; where that fails, those read last stay in use, and the log says so.
//
// Whoever has a certificate of the CA for the use of clients counts as a node, so the
// CA should be of this cluster alone. The node that is dialled must also have, in its
// certificate, the host of the address under which the others know it (Peers), as a
// DNS name or IP address.
type RaftTLS struct {
	Cert string // file with this node's certificate, and those between it and the CA
	Key  string // file with its key
	CA   string // file with the certificate of the CA, or several
}

func (f RaftTLS) on() bool { return f != RaftTLS{} }

func (c *Config) checkRaftTLS() error {
	f := c.RaftTLS
	if !f.on() {
		return nil
	}
	if f.Cert == "" || f.Key == "" || f.CA == "" {
		return badConfig("%s has Cert %q, Key %q and CA %q; give all three files, or none", field("RaftTLS"), f.Cert, f.Key, f.CA)
	}
	if c.Raft == "" {
		return badConfig("%s needs %s, the address this node listens on for the others", field("RaftTLS"), field("Raft"))
	}
	return nil
}

// credentials are what the files of a RaftTLS held when they were read.
type credentials struct {
	cert tls.Certificate
	ca   *x509.CertPool
}

// read returns what the files hold now; an error names the file that is to blame.
func (f RaftTLS) read() (*credentials, error) {
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("the CA: %w", err)
	}
	c := &credentials{ca: x509.NewCertPool()}
	if !c.ca.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the CA: %s holds no certificate in PEM", f.CA)
	}
	if c.cert, err = tls.LoadX509KeyPair(f.Cert, f.Key); err != nil {
		return nil, fmt.Errorf("certificate %s and key %s: %w", f.Cert, f.Key, err)
	}
	between := x509.NewCertPool()
	for _, der := range c.cert.Certificate[1:] {
		more, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", f.Cert, err)
		}
		between.AddCert(more)
	}
	// As the other nodes will, in both roles.
	for _, use := range []struct {
		of   x509.ExtKeyUsage
		name string
	}{{x509.ExtKeyUsageServerAuth, "serverAuth"}, {x509.ExtKeyUsageClientAuth, "clientAuth"}} {
		_, err := c.cert.Leaf.Verify(x509.VerifyOptions{Roots: c.ca, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{use.of}})
		if err != nil {
			return nil, fmt.Errorf("certificate %s is not good for %s by the CA in %s: %w", f.Cert, use.name, f.CA, err)
		}
	}
	return c, nil
}

const handshakeTimeout = 5 * time.Second

// raftTLS makes connections between nodes secure.
type raftTLS struct {
	files    RaftTLS
	patience time.Duration // with who connects and does not prove itself
	log      *slog.Logger
	repeats  *repeats

	mu   sync.Mutex
	last *credentials // that could be read
}

// newRaftTLS reads the files. advertise is the address under which the others dial
// this node, empty if that is not known. The error wraps [ErrConfig].
func newRaftTLS(files RaftTLS, advertise string, log *slog.Logger) (*raftTLS, error) {
	c, err := files.read()
	if err != nil {
		return nil, badConfig("%s: %w", field("RaftTLS"), err)
	}
	if advertise != "" {
		host, _, err := net.SplitHostPort(advertise)
		if err == nil {
			err = c.cert.Leaf.VerifyHostname(host)
		}
		if err != nil {
			return nil, badConfig("%s: certificate %s does not cover %s, where the others dial this node; have one made that does: %w", field("RaftTLS"), files.Cert, advertise, err)
		}
	}
	return &raftTLS{files: files, patience: handshakeTimeout, log: log, repeats: newRepeats(), last: c}, nil
}

// credentials returns what the files hold, or held last when they were good.
func (t *raftTLS) credentials() *credentials {
	c, err := t.files.read()
	t.mu.Lock()
	if err == nil {
		t.last = c
	}
	c = t.last
	t.mu.Unlock()
	if err != nil {
		t.repeats.log(t.log, slog.LevelError, "reload", "cannot use the new TLS files for Raft; those read before stay in use", "error", err)
	}
	return c
}

// config is for one connection: nothing is resumed, so everything is checked each
// time.
func (t *raftTLS) config() *tls.Config {
	c := t.credentials()
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{c.cert},
		RootCAs:                c.ca,
		ClientCAs:              c.ca,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		SessionTicketsDisabled: true,
	}
}

// client secures a connection that this node has dialled.
func (t *raftTLS) client(conn net.Conn, addr string, timeout time.Duration) (net.Conn, error) {
	config := t.config()
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	config.ServerName = host
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS with %s: %w", addr, err)
	}
	return secure, nil
}

// server secures a connection that this node has accepted. The handshake is with the
// first Read, which Raft makes in a goroutine of the connection's own.
func (t *raftTLS) server(conn net.Conn) net.Conn {
	return &serverConn{Conn: tls.Server(conn, t.config()), tls: t}
}

type serverConn struct {
	*tls.Conn
	tls *raftTLS

	once   sync.Once
	failed bool
}

func (c *serverConn) Read(b []byte) (int, error) {
	c.once.Do(c.handshake)
	if c.failed {
		return 0, io.EOF // it has been logged; Raft would log it again
	}
	return c.Conn.Read(b)
}

func (c *serverConn) handshake() {
	ctx, cancel := context.WithTimeout(context.Background(), c.tls.patience)
	defer cancel()
	err := c.HandshakeContext(ctx)
	if err == nil {
		return
	}
	c.failed = true
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return // who only looked whether somebody listens, or this node closes
	}
	hint := "is it a node, and has it a certificate of the same CA?"
	if notTLS := (tls.RecordHeaderError{}); errors.As(err, &notTLS) {
		hint = "it does not speak TLS; give every node the same --raft-ca and a certificate of it"
	}
	c.tls.repeats.log(c.tls.log, slog.LevelWarn, "refused", "refused a connection to the Raft address: "+hint,
		"remote", c.RemoteAddr().String(), "error", err)
}
