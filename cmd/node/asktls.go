package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

var errOtherCertificate = errors.New("it shows another certificate than that of --http-tls-cert")

// secure returns how to know the node by TLS, nil if it is not asked that way.
func (f httpFlags) secure() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	switch {
	case f.CA != "":
		data, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("--http-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("--http-ca: %s holds no certificate in PEM", f.CA)
		}
	case f.Cert != "":
		data, err := os.ReadFile(f.Cert)
		if err != nil {
			return nil, fmt.Errorf("--http-tls-cert: %w", err)
		}
		own, _ := pem.Decode(data)
		if own == nil {
			return nil, fmt.Errorf("--http-tls-cert: %s holds no certificate in PEM", f.Cert)
		}
		// Beside the node its certificate is known, and often has not the loopback
		// address that it is asked at. To show it takes its key.
		config.InsecureSkipVerify = true
		config.VerifyConnection = func(s tls.ConnectionState) error {
			if !bytes.Equal(s.PeerCertificates[0].Raw, own.Bytes) {
				return errOtherCertificate
			}
			return nil
		}
	default:
		return nil, nil
	}
	return config, nil
}
