package nats

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/nats-io/nkeys"
)

// TestCheckCreds: what holds no credentials is named, before anything connects with it.
func TestCheckCreds(t *testing.T) {
	const token = "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n"
	key := func(create func() (nkeys.KeyPair, error)) string {
		key, err := create()
		if err != nil {
			t.Fatal(err)
		}
		seed, err := key.Seed()
		if err != nil {
			t.Fatal(err)
		}
		return "-----BEGIN USER NKEY SEED-----\n" + string(seed) + "\n------END USER NKEY SEED------\n"
	}
	dir := t.TempDir()
	for name, c := range map[string]struct{ content, says string }{
		"good":    {token + key(nkeys.CreateUser), ""},
		"nothing": {"", `/nothing holds no JWT and key of a user`},
		"text":    {"hello", `/text holds no JWT and key of a user`},
		"half":    {token, `/half holds no JWT and key of a user`},
		"account": {token + key(nkeys.CreateAccount), `/account holds no JWT and key of a user`},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := CheckCreds(path); c.says == "" && err != nil || c.says != "" && (err == nil || !regexp.MustCompile(c.says).MatchString(err.Error())) {
			t.Errorf("%s: error is %v, want %q", name, err, c.says)
		}
	}
	for path, says := range map[string]string{dir: "is a directory", filepath.Join(dir, "none"): "no such file"} {
		if err := CheckCreds(path); err == nil || !regexp.MustCompile(regexp.QuoteMeta(path)+": "+says).MatchString(err.Error()) {
			t.Errorf("%s: error is %v, want that it %s", path, err, says)
		}
	}
}
