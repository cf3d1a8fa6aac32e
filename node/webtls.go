package node

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
)

// HTTPTLS encrypts HTTP. The files are PEM, and are read again while the node runs, once
// a second at most, so that a certificate can be replaced without a restart; where that
// fails, those read last stay in use, and the log says so.
type HTTPTLS struct {
	Cert string // file with the certificate, and those between it and its CA
	Key  string // file with its key
}

func (f HTTPTLS) on() bool { return f != HTTPTLS{} }

func (f HTTPTLS) read() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s and key %s: %w", f.Cert, f.Key, err)
	}
	return &cert, nil
}

func (c *Config) checkHTTPTLS() error {
	f := c.HTTPTLS
	if !f.on() {
		return nil
	}
	if f.Cert == "" || f.Key == "" {
		return badConfig("%s has Cert %q and Key %q; give both, or none", field("HTTPTLS"), f.Cert, f.Key)
	}
	if c.HTTP == Off {
		return badConfig("%s is for %s, which is off; give an address, or leave it out", field("HTTPTLS"), field("HTTP"))
	}
	if _, err := f.read(); err != nil {
		return badConfig("%s: %w", field("HTTPTLS"), err)
	}
	return nil
}

// listener has the connections of l encrypted.
func (f HTTPTLS) listener(l net.Listener, log *slog.Logger) (net.Listener, error) {
	first, err := f.read()
	if err != nil {
		return nil, badConfig("%s: %w", field("HTTPTLS"), err)
	}
	files := newFresh("TLS files for HTTP", first, f.read, log)
	return tls.NewListener(l, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return files.get(), nil },
	}), nil
}
