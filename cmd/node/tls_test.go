package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/watchcast/watchcast/internal/freeport"
)

// certificates writes a CA and one node's certificate and key, for 127.0.0.1, and
// returns the environment that names them.
func certificates(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// One that signs itself is a CA and a node in one.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := write("cert.pem", "CERTIFICATE", cert)
	return []string{
		"WATCHCAST_RAFT_CERT=" + path,
		"WATCHCAST_RAFT_KEY=" + write("key.pem", "PRIVATE KEY", private),
		"WATCHCAST_RAFT_CA=" + path,
	}
}

// TestRaftTLS: two nodes of three that have certificates of one CA form a cluster; a
// third with another's takes no part in it.
func TestRaftTLS(t *testing.T) {
	ours, theirs := certificates(t), certificates(t)
	raft := []string{freeport.Address(t), freeport.Address(t), freeport.Address(t)}
	peers := fmt.Sprintf("n1=%s,n2=%s,n3=%s", raft[0], raft[1], raft[2])
	var nodes []*process
	for i, env := range [][]string{ours, ours, theirs} {
		nodes = append(nodes, startProcess(t, env, nodeArgs(t.TempDir(), "--id", fmt.Sprintf("n%d", i+1), "--raft", raft[i], "--peers", peers, "--election-timeout", "1s")...))
	}
	nodes[0].ready()
	nodes[1].ready()
	alone := nodes[2].stderr
	for ctx := bounded(t); ; {
		alone.mu.Lock()
		changed := alone.changed // before what was said is looked at
		alone.mu.Unlock()
		if strings.Contains(alone.String(), "refused a connection to the Raft address") {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("the third node does not say why it is alone: %s", alone)
		}
	}
	if said := nodes[2].stdout.String(); strings.Contains(said, "ready") {
		t.Errorf("the third node is ready: %s", said)
	}
}
