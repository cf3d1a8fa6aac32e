package nats

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// TestRedact holds that credentials never leave the configuration.
func TestRedact(t *testing.T) {
	for urls, want := range map[string]string{
		"nats://127.0.0.1:4222":                     "nats://127.0.0.1:4222",
		"nats://user:secret@a:4222":                 "nats://a:4222",
		"nats://secret@a:4222":                      "nats://a:4222", // a token
		"nats://u:secret@a:4222,nats://v:secret@b":  "nats://a:4222,nats://b",
		"nats://u:secret@a:4222, tls://v:secret@b ": "nats://a:4222,tls://b",
		"user:secret@a:4222":                        "nats://a:4222",
		"a:4222,secret@b:4222":                      "nats://a:4222,nats://b:4222",
		"nats://u:sec%ret@a:4222":                   "nats://a:4222", // not even a URL
		"nats://u:sec,ret@a:4222":                   "nats://a:4222", // a comma ends a URL
		"tls://b:4222,tls://u:se,cr:1,et@a:4222":    "tls://b:4222,tls://a:4222",
		"u:sec,ret@a:4222,b":                        "nats://a:4222,nats://b",
		"nats://sec,ret@a:4222,tls://b,c":           "nats://a:4222,tls://b,nats://c",
		"nats://u:secret@a:4222,u:secret@b":         "nats://a:4222,nats://b",
	} {
		if got := Redact(urls); got != want {
			t.Errorf("%q is shown as %q; want %q", urls, got, want)
		}
	}
}

// TestRedactError: what is said of a URL that is none has no piece of its credentials, and
// says what is wrong.
func TestRedactError(t *testing.T) {
	for url, says := range map[string]string{
		"nats://user:secret@127.0.0.1:4222:bad": `invalid port ":bad"`,
		"nats://user:secret@a b":                `invalid character " "`,
		"nats://user:secret@a%zz":               `invalid URL escape "%zz"`,
		"nats://user:sec/ret@127.0.0.1:4222":    "write %40 for @",
		"nats://user:se%cret@127.0.0.1:4222":    "write %40 for @",
		"nats://user:se cret@127.0.0.1:4222":    "write %40 for @",
		"nats://user:sec,ret@127.0.0.1:4222":    "write %40 for @",
	} {
		_, err := nats.Connect(url)
		if err == nil {
			t.Errorf("%s is taken for a URL", url)
			continue
		}
		if said := RedactError("nats://b, "+url+" ", err).Error(); !strings.Contains(said, says) || strings.Contains(said, "user:") || strings.Contains(said, "sec") || strings.Contains(said, "%cr") {
			t.Errorf("%s: %q; want %s in it, and no secret", url, said, says)
		}
	}
	bare := "127.0.0.1:bad" // to which the client library adds a scheme of its own
	_, err := nats.Connect(bare, nats.Secure(&tls.Config{}))
	if said := RedactError(bare, err); said == nil || !strings.Contains(said.Error(), "port") {
		t.Errorf("%s: %v; want the port in it", bare, said)
	}
	if err := RedactError("nats://b", nats.ErrNoServers); !errors.Is(err, nats.ErrNoServers) {
		t.Errorf("another error became %v", err)
	}
}
