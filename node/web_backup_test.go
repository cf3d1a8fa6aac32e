package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/watchcast/watchcast/fsm"
)

func httpPut(t *testing.T, url string, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), http.MethodPut, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Expect", "100-continue")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: patience}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("PUT %s: %v", url, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("PUT %s: %v", url, err)
	}
	return resp, string(text)
}

// TestBackupOverHTTP gets a backup from one cluster and puts it into another.
func TestBackupOverHTTP(t *testing.T) {
	t.Parallel()
	from, into := lead(t, serving(t)), lead(t, serving(t))
	last := put(t, from, "k", "v")
	cluster, _ := from.machine.Cluster()
	resp, body := fetch(t, "GET", from.HTTPURL()+"/v1/backup")
	info, err := fsm.CheckBackup(strings.NewReader(body))
	if resp.StatusCode != 200 || err != nil || info != (fsm.BackupInfo{Cluster: cluster, Revision: last, Keys: 1}) {
		t.Fatalf("%s, a backup of %+v, %v", resp.Status, info, err)
	}
	for name, want := range map[string]string{
		"Content-Type":        "application/octet-stream",
		"Content-Disposition": fmt.Sprintf(`attachment; filename="watchcast-%d.backup"`, last),
		headerBackupCluster:   cluster.ID,
		headerBackupRevision:  fmt.Sprint(last),
		headerBackupKeys:      "1",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q; want %q", name, got, want)
		}
	}
	if resp, body := fetch(t, "HEAD", from.HTTPURL()+"/v1/backup"); resp.StatusCode != 200 || body != "" || resp.Header.Get(headerBackupKeys) != "1" {
		t.Errorf("HEAD: %s, %d bytes", resp.Status, len(body))
	}

	own, _ := into.machine.Cluster()
	resp, reply := httpPut(t, into.HTTPURL()+"/v1/backup", strings.NewReader(body))
	var r backupReply
	if err := json.Unmarshal([]byte(reply), &r); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s %s: %v", resp.Status, reply, err)
	}
	if want := (backupReply{Cluster: own.ID, Revision: into.Revision(), Keys: 1, BackupCluster: cluster.ID, BackupRevision: last}); r != want {
		t.Errorf("answered %+v; want %+v", r, want)
	}
	wantValue(t, into, "k", "v", last)
}

// TestBackupOverHTTPRefused: one line and a code, and nothing changes.
func TestBackupOverHTTPRefused(t *testing.T) {
	t.Parallel()
	config := serving(t)
	config.MaxRestoreBytes = 1 << 10
	n := lead(t, config)
	last := put(t, n, "k", "v")
	whole, _ := backupOf(t, n)
	url := n.HTTPURL() + "/v1/backup"
	for _, c := range []struct {
		name   string
		method string
		url    string
		body   []byte
		code   int
		want   string
	}{
		{"unknown parameter", "GET", url + "?stail", nil, 400, `unknown parameter "stail"`},
		{"revision that is none", "GET", url + "?stale&min_revision=now", nil, 400, `min_revision is "now"`},
		{"revision that is empty", "GET", url + "?stale&min_revision=", nil, 400, `min_revision is ""`},
		{"revision that cannot be read", "GET", url + "?stale&min_revision=%zz", nil, 400, `malformed: invalid URL escape "%zz"`},
		{"another sign between the two", "GET", url + "?stale;min_revision=900", nil, 400, `malformed`},
		{"two revisions", "GET", url + "?stale&min_revision=1&min_revision=900", nil, 400, `min_revision is there 2 times`},
		{"revision without stale", "GET", url + "?min_revision=1", nil, 400, `add stale`},
		{"neither stale nor not", "GET", url + "?stale=perhaps", nil, 400, `stale is "perhaps"`},
		{"revision where it is not to be stale", "GET", url + "?stale=false&min_revision=1", nil, 400, `add stale`},
		{"cut short", "PUT", url, whole[:len(whole)-1], 400, "cut short"},
		{"another program's", "PUT", url, []byte("hello, hello"), 400, "no snapshot"},
		{"too long", "PUT", url, make([]byte, 2<<10), 413, "more than 1024 bytes"},
		{"another method", "POST", url, whole, 405, "Method Not Allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var resp *http.Response
			var said string
			if c.method == "PUT" {
				resp, said = httpPut(t, c.url, bytes.NewReader(c.body))
			} else {
				resp, said = fetch(t, c.method, c.url)
			}
			if resp.StatusCode != c.code || !strings.Contains(said, c.want) || strings.Count(said, "\n") != 1 {
				t.Errorf("%s %q; want %d and one line with %q", resp.Status, said, c.code, c.want)
			}
			if n.Revision() != last {
				t.Errorf("it is at revision %d; want %d", n.Revision(), last)
			}
		})
	}
	t.Run("too long, of unknown length", func(t *testing.T) {
		// Not so long that the server hangs up on a client that goes on sending.
		resp, said := httpPut(t, url, io.LimitReader(zeros{}, 2<<10))
		if resp.StatusCode != 413 || n.Revision() != last {
			t.Errorf("%s %q", resp.Status, said)
		}
	})
}

// TestBackupOverHTTPNotLeader: who does not lead names the leader, and gives what it
// has if that is asked for.
func TestBackupOverHTTPNotLeader(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	last := put(t, leader, "k", "v")
	want, _ := backupOf(t, leader)
	config := others[0].config
	config.HTTP = "127.0.0.1:0" // the harness has it off
	stop(t, others[0])
	n := start(t, config)
	url := n.HTTPURL() + "/v1/backup"
	eventually(t, "the node knows the leader", func() bool { return n.Leader() == leader.ID() })
	for _, answer := range []func() (*http.Response, string){
		func() (*http.Response, string) { return fetch(t, "GET", url) },
		func() (*http.Response, string) { return fetch(t, "GET", url+"?stale=false") },
		func() (*http.Response, string) { return httpPut(t, url, bytes.NewReader(want)) },
	} {
		if resp, said := answer(); resp.StatusCode != 503 || said != "another node leads: "+leader.ID()+"; ask it\n" {
			t.Errorf("%s %q", resp.Status, said)
		}
	}
	resp, got := fetch(t, "GET", fmt.Sprintf("%s?stale&min_revision=%d", url, last))
	if resp.StatusCode != 200 || got != string(want) {
		t.Errorf("a stale backup: %s, %d bytes; want the leader's %d", resp.Status, len(got), len(want))
	}
}

// TestBackupOverHTTPBreaksOff: a backup that ends early is a broken connection to who
// receives it, not a shorter backup.
func TestBackupOverHTTPBreaksOff(t *testing.T) {
	t.Parallel()
	n := lead(t, serving(t))
	for i := range 40 { // more than fits into the buffers of a connection
		put(t, n, fmt.Sprint(i), strings.Repeat("v", 1<<20-8<<10))
	}
	req, err := http.NewRequestWithContext(bounded(t), http.MethodGet, n.HTTPURL()+"/v1/backup", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- n.Close() }()
	defer func() { within(t, "Close", func() error { return <-closed }) }()
	eventually(t, "the node begins to close", n.closing) // and the connection is still open
	if rest, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("after %d more bytes it seems to be complete", rest)
	}
}
