package node

import (
	"bytes"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// natsServers builds the program nats-server, and returns what starts one with a
// configuration file and waits until it listens at addr.
func natsServers(t *testing.T) func(file, addr string) *natsServer {
	t.Helper()
	program := filepath.Join(t.TempDir(), "nats-server")
	if said, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, said)
	}
	return func(file, addr string) *natsServer {
		t.Helper()
		s := &natsServer{cmd: exec.Command(program, "-c", file), addr: addr}
		s.cmd.Dir = t.TempDir()
		var said bytes.Buffer
		s.cmd.Stdout, s.cmd.Stderr = &said, &said
		if err := s.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			s.kill()
			if t.Failed() {
				t.Logf("%s said:\n%s", file, &said)
			}
		})
		eventually(t, "nats-server listens at "+addr, func() bool {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
		return s
	}
}

// natsServer is a broker in a process of its own.
type natsServer struct {
	cmd  *exec.Cmd
	addr string
	once sync.Once
}

// kill ends the process at once, as a crash does.
func (s *natsServer) kill() {
	s.once.Do(func() {
		s.cmd.Process.Signal(syscall.SIGKILL)
		s.cmd.Wait()
	})
}
