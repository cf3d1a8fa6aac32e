package nats

import "testing"

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
	} {
		if got := Redact(urls); got != want {
			t.Errorf("%q is shown as %q; want %q", urls, got, want)
		}
	}
}
