package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// processes is three nodes of one cluster, each in a process of its own, with their
// files on the disk.
type processes struct {
	dir     string
	members []*member
}

// member is a node in a process of its own.
type member struct {
	id, nats, http string
	command        func() *exec.Cmd
	running        *exec.Cmd
}

const (
	memberReady = 30 * time.Second
	memberPoll  = 20 * time.Millisecond
)

func startProcesses(ctx context.Context, dir string) (_ *processes, err error) {
	p := &processes{}
	if p.dir, err = os.MkdirTemp(dir, "watchcast-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.stop()
			err = fmt.Errorf("start three processes: %w", err)
		}
	}()
	binary, err := filepath.Abs(filepath.Join(p.dir, "node"))
	if err != nil {
		return nil, err
	}
	if err := buildNode(ctx, binary); err != nil {
		return nil, err
	}
	const size = 3
	addrs, err := freeAddresses(4 * size)
	if err != nil {
		return nil, err
	}
	clients, https, rafts, routes := addrs[:size], addrs[size:2*size], addrs[2*size:3*size], addrs[3*size:]
	var peers []string
	for i, addr := range rafts {
		peers = append(peers, fmt.Sprintf("n%d=%s", i+1, addr))
	}
	for i := range size {
		m := &member{id: fmt.Sprintf("n%d", i+1), nats: "nats://" + clients[i], http: "http://" + https[i]}
		m.command = func() *exec.Cmd {
			return exec.Command(binary, "--id", m.id, "--data", filepath.Join(p.dir, m.id), "--log-level", "error",
				"--nats", clients[i], "--http", https[i], "--raft", rafts[i], "--routes", routes[i],
				"--peers", strings.Join(peers, ","), "--join-routes", strings.Join(routes, ","), "--cluster-secret", "measured")
		}
		p.members = append(p.members, m)
		if err := m.start(); err != nil {
			return nil, err
		}
	}
	for _, m := range p.members {
		if err := m.ready(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// buildNode builds cmd/node in its own module, which knows what it needs.
func buildNode(ctx context.Context, binary string) error {
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/watchcast/watchcast").Output()
	if err != nil {
		return fmt.Errorf("find the module of the node: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-C", strings.TrimSpace(string(module)), "-o", binary, "./cmd/node")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the node: %w: %s", err, out)
	}
	return nil
}

// freeAddresses returns addresses on which nobody listens.
func freeAddresses(n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // not before all are known, so that they differ
		addrs[i] = l.Addr().String()
	}
	return addrs, nil
}

func (p *processes) stop() {
	for _, m := range p.members {
		m.kill()
	}
	os.RemoveAll(p.dir)
}

func (m *member) start() error {
	m.running = m.command()
	if err := m.running.Start(); err != nil {
		m.running = nil
		return err
	}
	return nil
}

// kill ends the process as a crash does, and waits until it is gone.
func (m *member) kill() {
	if m.running == nil {
		return
	}
	m.running.Process.Kill()
	m.running.Wait()
	m.running = nil
}

// ready waits until the node says that it is.
func (m *member) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, memberReady, errors.New(m.id+" is not ready"))
	defer cancel()
	poll := time.NewTicker(memberPoll)
	defer poll.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.http+"/readyz", nil)
		if err != nil {
			return err
		}
		if r, err := http.DefaultClient.Do(request); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
