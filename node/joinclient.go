package node

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
)

// joinClient asks the node to join through, and shows it this node's token.
func (c *Config) joinClient() (*http.Client, error) {
	secure, err := c.joinTLS()
	if err != nil {
		return nil, badConfig("%s: %w", field("JoinCA"), err)
	}
	token, err := c.httpToken()
	if err != nil {
		return nil, badConfig("%s: %w", field("HTTPTokenFile"), err)
	}
	dialer := &net.Dialer{Timeout: transportTimeout}
	return &http.Client{
		Transport:     bearer{token, &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: secure, DisableKeepAlives: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for this node
	}, nil
}

// joinTLS returns what the node to join through is verified with, nil for the
// system's.
func (c *Config) joinTLS() (*tls.Config, error) {
	if c.JoinCA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.JoinCA)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", c.JoinCA)
	}
	return config, nil
}

// bearer shows a token with every request, unless that is empty or the URL has
// credentials of its own.
type bearer struct {
	token string
	next  http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" && r.Header.Get("Authorization") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}
