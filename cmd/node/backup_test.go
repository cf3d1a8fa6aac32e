package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"github.com/watchcast/watchcast/internal/freeport"
	"github.com/watchcast/watchcast/nats"
)

// command runs a command of the node to its end.
func ended(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := startProcess(t, nil, args...)
	return p.exit(), p.stdout.String(), p.stderr.String()
}

func putKey(t *testing.T, conn *natsgo.Conn, key, value string) (revision string) {
	t.Helper()
	reply, err := conn.Request("kv.put."+key, []byte(value), limit)
	if err != nil || reply.Header.Get(nats.HeaderRev) == "" {
		t.Fatalf("put %s: %v, %v", key, err, reply)
	}
	return reply.Header.Get(nats.HeaderRev)
}

func wantKey(t *testing.T, conn *natsgo.Conn, key, value, revision string) {
	t.Helper()
	reply, err := conn.Request("kv.get."+key, nil, limit)
	if err != nil || string(reply.Data) != value || reply.Header.Get(nats.HeaderRev) != revision {
		t.Fatalf("get %s: %v, %q %v; want %q at %s", key, err, reply.Data, reply.Header, value, revision)
	}
}

// only fails the test if dir holds other files than those.
func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if !slices.Equal(have, names) {
		t.Errorf("%s holds %q; want %q", dir, have, names)
	}
}

// TestBackupAndRestore is an operator's day: a backup of a running node, its end, and
// what was backed up in a new cluster, which is then killed and started again.
func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "state.backup")
	old := startProcess(t, nil, nodeArgs(t.TempDir())...)
	conn := connect(t, old.url())
	old.ready()
	var revision string
	for i := range 50 {
		revision = putKey(t, conn, fmt.Sprintf("k.%d", i), strings.Repeat("v", i*100))
	}
	code, said, wrong := ended(t, "backup", file, "--http", old.httpAddr())
	if match := regexp.MustCompile(`^` + regexp.QuoteMeta(file) + `: revision (\d+) of cluster [0-9a-f-]{36}, 50 keys, (\d+) bytes\n$`).FindStringSubmatch(said); code != exitOK || wrong != "" || match == nil || match[1] != revision {
		t.Fatalf("backup: exit code %d, printed %q, said %q", code, said, wrong)
	}
	only(t, dir, "state.backup")
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	// It replaces no file unless it is told to.
	putKey(t, conn, "k.0", "later")
	if code, _, wrong := ended(t, "backup", file, "--http", old.httpAddr()); code != exitFailed || wrong != "node backup: "+file+" exists; give another name, or --force to replace it\n" {
		t.Errorf("exit code %d, said %q", code, wrong)
	}
	if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, first) {
		t.Errorf("the file was changed: %v", err)
	}
	if code, _, wrong := ended(t, "backup", "--force", file, "--http", old.httpAddr()); code != exitOK {
		t.Errorf("exit code %d, said %q", code, wrong)
	}
	if now, err := os.ReadFile(file); err != nil || bytes.Equal(now, first) {
		t.Errorf("the file was not replaced: %v", err)
	}
	if err := os.WriteFile(file, first, 0o600); err != nil {
		t.Fatal(err)
	}
	old.kill()

	args := nodeArgs(t.TempDir())
	fresh := startProcess(t, nil, args...)
	conn = connect(t, fresh.url())
	fresh.ready()
	w := newWitness(t, conn)
	putKey(t, conn, "not.in.backup", "")
	code, said, wrong = ended(t, "restore", file, "--http", fresh.httpAddr())
	match := regexp.MustCompile(`^restored 50 keys of cluster (\S+) at revision (\d+) into cluster (\S+), which is at revision (\d+) now\n$`).FindStringSubmatch(said)
	if code != exitOK || wrong != "" || match == nil || match[1] == match[3] || match[2] != revision {
		t.Fatalf("restore: exit code %d, printed %q, said %q", code, said, wrong)
	}
	if reply, err := conn.Request("kv.get.not.in.backup", nil, limit); err != nil || reply.Header.Get("Nats-Service-Error-Code") != "404" {
		t.Errorf("a key that the backup does not have: %v, %v", err, reply)
	}
	for ctx := bounded(t); len(w.resets) == 0; {
		select {
		case m := <-w.messages:
			w.record(m)
		case <-ctx.Done():
			t.Fatal("no reset was announced")
		}
	}
	if fmt.Sprint(w.resets[0].To) != match[4] {
		t.Errorf("resets %v; want one up to %s", w.resets, match[4])
	}
	after := putKey(t, conn, "after", "v")
	fresh.kill()

	again := startProcess(t, nil, args...)
	conn = connect(t, again.url())
	again.ready()
	wantKey(t, conn, "k.49", strings.Repeat("v", 4900), revision)
	wantKey(t, conn, "after", "v", after)
}

// TestBackupBadInput: each mistake gets one line, an exit code, and no file.
func TestBackupBadInput(t *testing.T) {
	dir, broken := t.TempDir(), t.TempDir()
	n := startProcess(t, nil, nodeArgs(t.TempDir())...)
	conn := connect(t, n.url())
	n.ready()
	addr := n.httpAddr()
	revision := putKey(t, conn, "k", "v")
	good := filepath.Join(broken, "good")
	if code, _, wrong := ended(t, "backup", good, "--http", addr); code != exitOK {
		t.Fatalf("backup: exit code %d, said %q", code, wrong)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	bad := func(name string, content []byte) string {
		path := filepath.Join(broken, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	later, flipped := bytes.Clone(whole), bytes.Clone(whole)
	later[8] = 99
	flipped[len(flipped)/2] ^= 1
	out := filepath.Join(dir, "out")
	pipe := filepath.Join(broken, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	liar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(flipped) }))
	t.Cleanup(liar.Close)
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no file", []string{"backup"}, exitUsage, `expected "<file>"; see node backup --help`},
		{"unknown flag", []string{"backup", out, "--fresh"}, exitUsage, `unknown flag --fresh`},
		{"nobody there", []string{"backup", out, "--http", freeport.Address(t)}, exitFailed, `no node answers at 127\.0\.0\.1:\d+: .*refused; is it running`},
		{"off", []string{"backup", out, "--http", "off"}, exitFailed, `--http is off`},
		{"no directory", []string{"backup", filepath.Join(dir, "nowhere", "out"), "--http", addr}, exitFailed, `cannot write there: .*nowhere`},
		{"another server", []string{"backup", out, "--http", strings.TrimPrefix(n.url(), "nats://")}, exitFailed, `does not speak HTTP; is this a Watchcast node's --http`},

		{"bytes that changed on the way", []string{"backup", out, "--http", liar.Listener.Addr().String()}, exitFailed, `what came is no backup: fsm: corrupt snapshot`},

		{"restore: no file", []string{"restore"}, exitUsage, `expected "<file>"`},
		{"restore: file that is not there", []string{"restore", out, "--http", addr}, exitFailed, `cannot read the backup: .*no such file`},
		{"restore: directory", []string{"restore", dir, "--http", addr}, exitFailed, `is a directory`},
		{"restore: no name", []string{"restore", "", "--http", addr}, exitFailed, `the name of the file is empty; give one`},
		{"restore: pipe", []string{"restore", pipe, "--http", addr}, exitFailed, `pipe is no file, and a backup is read twice; write it to a file first`},
		{"restore: nobody there", []string{"restore", good, "--http", freeport.Address(t)}, exitFailed, `no node answers`},
		{"restore: empty", []string{"restore", bad("empty", nil), "--http", addr}, exitFailed, `empty: fsm: corrupt snapshot: .*cut short`},
		{"restore: cut short", []string{"restore", bad("cut", whole[:len(whole)-1]), "--http", addr}, exitFailed, `cut short`},
		{"restore: flipped", []string{"restore", bad("flipped", flipped), "--http", addr}, exitFailed, `corrupt snapshot`},
		{"restore: foreign", []string{"restore", bad("foreign", []byte("PK\x03\x04 something else")), "--http", addr}, exitFailed, `this is no snapshot of a watchcast store`},
		{"restore: later version", []string{"restore", bad("later", later), "--http", addr}, exitFailed, `version 99; this program knows`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startProcess(t, nil, c.args...)
			if code := p.exit(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			said := p.stderr.String()
			if strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "node "+c.args[0]+": ") || !regexp.MustCompile(c.want).MatchString(said) {
				t.Errorf("said %q; want one line with %q", said, c.want)
			}
			only(t, dir)
		})
	}
	wantKey(t, conn, "k", "v", revision)
}

// TestBackupReplacesOnlyFiles: with --force, too, nothing but a file makes room for a
// backup, a device least of all.
func TestBackupReplacesOnlyFiles(t *testing.T) {
	n := startProcess(t, nil, nodeArgs(t.TempDir())...)
	n.ready()
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for _, c := range []struct{ name, file, want string }{
		{"socket", socket, `socket is no file; give another name`},
		{"directory", dir, `is a directory; give the name of a file in it`},
		{"no name", "", `the name of the file is empty`},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, said := ended(t, "backup", "--force", c.file, "--http", n.httpAddr())
			if code != exitFailed || strings.Count(said, "\n") != 1 || !strings.Contains(said, c.want) {
				t.Errorf("exit code %d, said %q; want %d and one line with %q", code, said, exitFailed, c.want)
			}
			only(t, dir, "socket")
			if info, err := os.Lstat(socket); err != nil || info.Mode()&os.ModeSocket == 0 {
				t.Fatalf("the socket is gone: %v, %v", info, err)
			}
		})
	}
}

// tap is a connection to a node that passes on so many bytes of the answer, and then
// no more.
type tap struct {
	addr  string
	full  chan struct{} // closed when it has passed on as many
	mu    sync.Mutex
	conns []net.Conn
}

func newTap(t *testing.T, to string, pass int64) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{addr: l.Addr().String(), full: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", to)
		if err != nil {
			in.Close()
			return
		}
		p.mu.Lock()
		p.conns = []net.Conn{in, out}
		p.mu.Unlock()
		wg.Go(func() { io.Copy(out, in) })
		io.CopyN(in, out, pass)
		close(p.full)
	})
	t.Cleanup(func() {
		l.Close()
		p.cut()
		wg.Wait()
	})
	return p
}

func (p *tap) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

// TestBackupCutOff: a backup whose connection or own process dies half-way
// leaves no file of that name; only a killed process leaves something, under a name
// that says so.
func TestBackupCutOff(t *testing.T) {
	n := startProcess(t, nil, nodeArgs(t.TempDir())...)
	conn := connect(t, n.url())
	n.ready()
	for i := range 8 {
		putKey(t, conn, fmt.Sprint(i), strings.Repeat("v", 1<<20-8<<10))
	}
	addr := n.httpAddr()
	const half = 4 << 20
	begin := func(t *testing.T) (p *process, via *tap, dir string) {
		dir = t.TempDir()
		via = newTap(t, addr, half)
		p = startProcess(t, nil, "backup", filepath.Join(dir, "out"), "--http", via.addr)
		select {
		case <-via.full:
		case <-bounded(t).Done():
			t.Fatal("the backup does not get on")
		}
		if !poll(limit, func() bool { // what has passed may lie in a socket still
			files, err := os.ReadDir(dir)
			return err == nil && len(files) > 0
		}) {
			t.Fatal("the backup writes nothing")
		}
		return p, via, dir
	}
	t.Run("connection", func(t *testing.T) {
		p, via, dir := begin(t)
		via.cut()
		if code, said := p.exit(), p.stderr.String(); code != exitFailed || !regexp.MustCompile(`^node backup: the backup broke off after \d+ bytes: .*\n$`).MatchString(said) {
			t.Errorf("exit code %d, said %q", code, said)
		}
		only(t, dir)
	})
	t.Run("stopped", func(t *testing.T) {
		p, _, dir := begin(t)
		p.signal(syscall.SIGTERM)
		if code, said := p.exit(), p.stderr.String(); code != exitFailed || said != "node backup: interrupted; nothing was written\n" {
			t.Errorf("exit code %d, said %q", code, said)
		}
		only(t, dir)
	})
	t.Run("killed", func(t *testing.T) {
		p, _, dir := begin(t)
		p.kill()
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 1 || !regexp.MustCompile(`^\.out\.\d+\.part$`).MatchString(left[0].Name()) {
			t.Errorf("left behind: %v, %v; want one .part", left, err)
		}
		if code, _, wrong := ended(t, "backup", filepath.Join(dir, "out"), "--http", addr); code != exitOK {
			t.Errorf("a backup after it: exit code %d, said %q", code, wrong)
		}
	})
}
