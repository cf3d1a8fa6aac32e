package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/watchcast/watchcast/nats"
)

func TestHelpAndVersion(t *testing.T) {
	help := startProcess(t, nil, "--help")
	if code := help.exit(); code != exitOK {
		t.Fatalf("--help: exit code %d", code)
	}
	for _, want := range []string{"nats sub watch.mykey", "--nats-url", "--nats-config", "--nats-publisher-url", "--http-token-file", "--join-ca", "Exit codes", "127.0.0.1:4222", "node health", "node demo", "node backup", "node restore"} {
		if !strings.Contains(help.stdout.String(), want) {
			t.Errorf("--help does not mention %q", want)
		}
	}
	version := startProcess(t, nil, "--version")
	if code := version.exit(); code != exitOK || !regexp.MustCompile(`^watchcast \d`).MatchString(version.stdout.String()) {
		t.Fatalf("--version: exit code %d, printed %q", code, version.stdout)
	}
}

// TestBadInput: each mistake gets one line that names it, and an exit code.
func TestBadInput(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() })
	taken := busy.Addr().String()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("nats: [unclosed"), 0o600); err != nil {
		t.Fatal(err)
	}
	misspelt := filepath.Join(t.TempDir(), "misspelt.yaml")
	if err := os.WriteFile(misspelt, []byte("natz: 127.0.0.1:0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		env  []string
		args []string
		code int
		want string
	}{
		{"unknown flag", nil, []string{"--natz", "x"}, exitUsage, `unknown flag --natz`},
		{"unexpected argument", nil, []string{"start"}, exitUsage, `start`},
		{"nobody to join", nil, []string{"--dev", "--join", ""}, exitUsage, `^node: --join is empty; give a value, or leave it out; see node --help\n$`},
		{"no peers", nil, []string{"--dev", "--peers="}, exitUsage, `^node: --peers is empty; give`},
		{"no routes", nil, []string{"--dev", "--join-routes", ""}, exitUsage, `^node: --join-routes is empty; give`},
		{"not a number", nil, []string{"--max-payload", "many"}, exitUsage, `max-payload`},
		{"number out of range", nil, []string{"--dev", "--max-payload", "5"}, exitUsage, `MaxPayload is 5; give 65536 to`},
		{"negative ring", nil, []string{"--dev", "--ring-events=-1"}, exitUsage, `RingOptions.Slots is -1; give 1 to`},
		{"no buffer", nil, []string{"--dev", "--watch-buffer=-1"}, exitUsage, `RegistryOptions.Buffer is -1; give 1 to`},
		{"progress too often", nil, []string{"--dev", "--progress-interval", "1us"}, exitUsage, `ProgressInterval is 1µs; give 1ms or more`},
		{"unknown level", nil, []string{"--log-level", "loud"}, exitUsage, `log-level.*debug`},
		{"malformed address", nil, []string{"--dev", "--nats", "nowhere"}, exitUsage, `NATS is "nowhere"; give host:port`},
		{"HTTP for everyone", nil, []string{"--dev", "--http", "0.0.0.0:0", "--nats", "127.0.0.1:0"}, exitUsage, `HTTP is "0.0.0.0:0".*HTTPTokenFile, or set Insecure \(--http, --http-token-file, --insecure\)`},
		{"address for everyone", nil, []string{"--dev", "--nats", "0.0.0.0:0"}, exitUsage, `NATS is "0.0.0.0:0", which others can reach.*Insecure`},
		{"bad id", nil, []string{"--dev", "--id", "a b"}, exitUsage, `ID is "a b"`},
		{"directory in memory", nil, []string{"--dev", "--data", "d"}, exitUsage, `InMemory and DataDir "d" exclude each other; give one \(--dev, --data\)\n$`},
		{"name that is no text", nil, []string{"--dev", "--data", "d\xff"}, exitUsage, `"d\\xff"`},
		{"two brokers", nil, []string{"--dev", "--nats-url", "nats://x", "--nats", "127.0.0.1:0"}, exitUsage, `NATSURL`},
		{"peers without self", nil, []string{"--dev", "--peers", "n9=127.0.0.1:1", "--raft", "127.0.0.1:0"}, exitUsage, `Peers do not name this node, "node-1"`},
		{"certificate without the rest", nil, []string{"--dev", "--raft-cert", file, "--raft", "127.0.0.1:0"}, exitUsage, `RaftTLS has Cert ".*file", Key "" and CA ""; give all three files, or none`},
		{"certificate that is none", nil, []string{"--dev", "--raft-cert", file, "--raft-key", file, "--raft-ca", file, "--raft", "127.0.0.1:0", "--nats", "127.0.0.1:0"}, exitUsage, `RaftTLS: the CA: .*file holds no certificate in PEM`},
		{"no log at all", nil, []string{"--dev", "--max-log-bytes=1"}, exitUsage, `MaxLogBytes is 1; give 1048576 or more`},
		{"bad root", nil, []string{"--dev", "--watch-root", "a b"}, exitUsage, `subject root "a b"; give tokens of letters and digits`},
		{"no backup may come", nil, []string{"--dev", "--max-restore-bytes=-1"}, exitUsage, `MaxRestoreBytes is -1; give 1 or more`},
		{"bad environment", []string{"WATCHCAST_MAX_PAYLOAD=many"}, nil, exitUsage, `max-payload`},
		{"missing file", nil, []string{"--config", "/no/such/file"}, exitUsage, `/no/such/file`},
		{"malformed file", nil, []string{"--config", config}, exitUsage, `config\.yaml: .*yaml: line 1`},
		{"misspelt setting in the file", nil, []string{"--config", misspelt}, exitUsage, `has "natz", which is no flag`},
		{"NATS port in use", nil, []string{"--dev", "--nats", taken, "--http", "off"}, exitFailed, `cannot listen on ` + taken + ` for NATS: stop what uses the port`},
		{"HTTP port in use", nil, []string{"--dev", "--nats", "127.0.0.1:0", "--http", taken}, exitFailed, `cannot listen on ` + taken + ` for HTTP`},
		{"directory is a file", nil, nodeArgs(file), exitFailed, `data directory .*file.* give a path`},
		{"directory below a file", nil, nodeArgs(filepath.Join(file, "below")), exitFailed, `data directory .*below.* give a path`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, c.env, c.args...)
			if code := p.exit(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			said := p.stderr.String()
			if strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "node: ") || !regexp.MustCompile(c.want).MatchString(said) {
				t.Errorf("said %q; want one line that begins with node: and has %q", said, c.want)
			}
			if strings.Contains(said, "bad configuration") { // by package node, which knows no flags
				at := slices.IndexFunc(c.args, func(a string) bool { return strings.HasPrefix(a, "--") && a != "--dev" })
				if flag, _, _ := strings.Cut(c.args[at], "="); !strings.Contains(said, flag) {
					t.Errorf("said %q; want the flag %s in it", said, flag)
				}
			}
		})
	}
}

// TestSettings: a flag wins over the environment, and that over the file. What is empty in the
// environment says nothing.
func TestSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("id: from-file\nhttp: \"off\"\ndev: true\nnats: 127.0.0.1:0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"file", nil, nil, "from-file"},
		{"empty environment", []string{"WATCHCAST_ID=", "WATCHCAST_MAX_PAYLOAD=", "WATCHCAST_JOIN="}, nil, "from-file"},
		{"environment", []string{"WATCHCAST_ID=from-environment"}, nil, "from-environment"},
		{"flag", []string{"WATCHCAST_ID=from-environment"}, []string{"--id", "from-flag"}, "from-flag"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, c.env, append([]string{"--config", file}, c.args...)...)
			p.wait(`Watchcast ` + c.want + ` is ready, everything in memory`)
			if strings.Contains(p.stdout.String(), "HTTP") {
				t.Error("HTTP is on, though the file says off")
			}
			p.signal(syscall.SIGTERM)
			if code := p.exit(); code != exitOK {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// TestTextInFile: what is text is taken as it stands in the file, or refused. YAML reads some of it
// as something else, of which the text would be another one: a directory of another name.
func TestTextInFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	for _, line := range []string{"data: 2026-11-29", "id: 012", "cluster-secret: 12345678", "raft-ca: [a]"} {
		if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		flag, secret, _ := strings.Cut(line, ": ")
		code, _, said := ended(t, "--config", file)
		want := "node: --" + flag + ": in the file of --config it is not read as text; put it in quotes; see node --help\n"
		if code != exitUsage || said != want || strings.Contains(said, secret) {
			t.Errorf("%s: exit code %d, said %q; want %d and %q", line, code, said, exitUsage, want)
		}
	}
}

// TestSecondProcess: a directory is used by one process at a time, and the
// second one leaves the first alone.
func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	first := startProcess(t, nil, nodeArgs(dir)...)
	first.ready()
	second := startProcess(t, nil, nodeArgs(dir)...)
	if code := second.exit(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if said := second.stderr.String(); !regexp.MustCompile(`^node: data directory .*another process is using it; stop that one.*\n$`).MatchString(said) {
		t.Errorf("said %q", said)
	}
	reply, err := connect(t, first.url()).Request("kv.put.k", []byte("v"), limit)
	if err != nil || reply.Header.Get(nats.HeaderRev) == "" {
		t.Fatalf("the first process does not go on: %v", err)
	}
}

// TestStop: both signals end the node in order, and its data is there again.
func TestStop(t *testing.T) {
	dir := t.TempDir()
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		p := startProcess(t, nil, nodeArgs(dir)...)
		conn := connect(t, p.url())
		p.ready()
		if _, err := conn.Request("kv.put."+s.String(), []byte("kept"), limit); err != nil {
			t.Fatal(err)
		}
		p.signal(s)
		if code := p.exit(); code != exitOK {
			t.Fatalf("%v: exit code %d", s, code)
		}
	}
	p := startProcess(t, nil, nodeArgs(dir)...)
	conn := connect(t, p.url())
	p.ready()
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		got, err := conn.Request("kv.get."+s.String(), nil, limit)
		if err != nil || string(got.Data) != "kept" {
			t.Fatalf("%v: %v, %q", s, err, got.Data)
		}
	}
}

// TestNobodyReads: a node whose log goes to a process that has ended goes on, and stops
// in order.
func TestNobodyReads(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(bounded(t), os.Args[0], nodeArgs(t.TempDir())...)
	cmd.Env = append(os.Environ(), asNode+"=1")
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	for lines := bufio.NewScanner(read); ; {
		if !lines.Scan() {
			t.Fatalf("the node ended: %v", lines.Err())
		}
		if strings.HasPrefix(lines.Text(), "Ctrl-C stops") {
			break
		}
	}
	read.Close()
	cmd.Process.Signal(syscall.SIGTERM) // of which it says a line
	if err := cmd.Wait(); err != nil {
		t.Errorf("the node ended with %v; want exit code %d", err, exitOK)
	}
}
