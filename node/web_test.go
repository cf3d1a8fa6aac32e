package node

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/watchcast/watchcast/fanout"
	"github.com/watchcast/watchcast/internal/freeport"
)

// serving is a node on its own with HTTP.
func serving(t *testing.T) Config {
	c := single(t)
	c.HTTP = "127.0.0.1:0"
	return c
}

func fetch(t *testing.T, method, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return resp, string(body)
}

func TestPages(t *testing.T) {
	t.Parallel()
	n := lead(t, serving(t))
	for _, c := range []struct {
		method, path string
		code         int
		mentions     string
	}{
		{"GET", "/", 200, "/v1/status"},
		{"GET", "/healthz", 200, "ok"},
		{"HEAD", "/healthz", 200, ""},
		{"GET", "/readyz", 200, "ok"},
		{"GET", "/v1/status", 200, `"leader"`},
		{"GET", "/v1/members", 200, `"members"`},
		{"GET", "/", 200, "/v1/members"},
		{"GET", "/v1/identity", 404, ""},
		{"GET", "/metrics", 200, "watchcast_revision"},
		{"GET", "/nothing", 404, ""},
		{"GET", "/healthz/deeper", 404, ""},
		{"GET", "/v1", 404, ""},
		{"POST", "/", 405, ""},
		{"POST", "/healthz", 405, ""},
		{"PUT", "/v1/status", 405, ""},
		{"DELETE", "/metrics", 405, ""},
	} {
		resp, body := fetch(t, c.method, n.HTTPURL()+c.path)
		if resp.StatusCode != c.code || !strings.Contains(body, c.mentions) {
			t.Errorf("%s %s: %s %q; want %d with %q", c.method, c.path, resp.Status, body, c.code, c.mentions)
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	config := serving(t)
	config.ID, config.Version = "n1", "1.2.3"
	n := lead(t, config)
	stuck := watch(t, n, ">", fanout.WithBuffer(1))
	conn := connect(t, n.NATSURL())
	if _, err := conn.SubscribeSync("watch.a"); err != nil {
		t.Fatal(err)
	}
	if err := conn.FlushWithContext(bounded(t)); err != nil {
		t.Fatal(err)
	}
	put(t, n, "a", "x")
	put(t, n, "b", "x")
	revision, err := n.Delete(bounded(t), "a")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the events are published and dispatched", func() bool {
		s := n.Status()
		return s.Publish.Confirmed == revision && s.Events.Events == 3
	})
	resp, body := fetch(t, "GET", n.HTTPURL()+"/v1/status")
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type is %q", got)
	}
	var s map[string]any
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	cluster, _ := n.machine.Cluster()
	events, _ := s["events"].(map[string]any)
	published, _ := s["published"].(map[string]any)
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"id", s["id"], "n1"},
		{"leader", s["leader"], "n1"},
		{"version", s["version"], "1.2.3"},
		{"cluster", s["cluster"], cluster.ID},
		{"term", s["term"], float64(n.consensus.raft.CurrentTerm())},
		{"revision", s["revision"], float64(revision)},
		{"keys", s["keys"], 1.0},
		{"nats", s["nats"], n.NATSURL()},
		{"events.watchers", events["watchers"], 1.0},
		{"events.matched", events["matched"], 3.0},
		{"events.dropped", events["dropped"], 2.0},
		{"published.confirmed", published["confirmed"], float64(revision)},
		{"published.events", published["events"], 2.0},
		{"published.skipped", published["skipped"], 1.0},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v; want %v", c.name, c.got, c.want)
		}
	}

	_, body = fetch(t, "GET", n.HTTPURL()+"/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatalf("metrics cannot be parsed: %v\n%s", err, body)
	}
	for name, want := range map[string]float64{
		"leader": 1, "term": float64(n.consensus.raft.CurrentTerm()), "revision": float64(revision), "keys": 1, "watchers": 1,
		"dispatched_events_total": 3, "watcher_matched_total": 3, "watcher_dropped_total": 2, "dispatcher_gaps_total": 0,
		"watcher_delivered_total": 0, "watcher_conflated_total": 0, "watcher_pending": 1, "watchers_cancelled_total": 0,
		"published_revision": float64(revision),
		"log_bytes":          float64(n.Status().Log.Weight), "log_limit_bytes": DefaultMaxLogBytes, "snapshot_bytes": 0,
	} {
		family := families["watchcast_"+name]
		if family == nil || len(family.Metric) != 1 || family.GetHelp() == "" {
			t.Errorf("watchcast_%s is not there: %v", name, family)
			continue
		}
		m := family.Metric[0]
		if got := m.GetGauge().GetValue() + m.GetCounter().GetValue(); got != want {
			t.Errorf("watchcast_%s is %v; want %v", name, got, want)
		}
		if len(m.Label) != 1 || m.Label[0].GetName() != "node" || m.Label[0].GetValue() != "n1" {
			t.Errorf("watchcast_%s has labels %v; want node n1", name, m.Label)
		}
		if counter := m.Counter != nil; counter != strings.HasSuffix(name, "_total") {
			t.Errorf("watchcast_%s is a counter: %v", name, counter)
		}
	}
	stuck.Stop()
}

// TestDetailedMetrics: histograms of deliveries, only where they were asked for.
func TestDetailedMetrics(t *testing.T) {
	t.Parallel()
	config := serving(t)
	config.DetailedMetrics = true
	detailed, plain := lead(t, config), lead(t, serving(t))
	for _, n := range []*Node{detailed, plain} {
		w, err := n.Watch(t.Context(), ">")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // two reads of the ring, however slow the dispatcher is
			put(t, n, "a", "v")
			if _, err := w.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, body := fetch(t, "GET", plain.HTTPURL()+"/metrics"); strings.Contains(body, "watchcast_dispatch_") {
		t.Error("there are histograms that nobody asked for")
	}
	// Observed behind the delivery, so what was received may not be counted yet.
	want := []string{
		`watchcast_dispatch_read_events_sum{node="node-1"} 2`,
		`watchcast_dispatch_read_offers_sum{node="node-1"} 2`,
		`watchcast_dispatch_read_seconds_bucket{node="node-1",le="+Inf"} `,
		`watchcast_dispatch_age_seconds_bucket{node="node-1",le="+Inf"} `,
	}
	for end := time.Now().Add(patience); ; {
		_, body := fetch(t, "GET", detailed.HTTPURL()+"/metrics")
		missing := slices.DeleteFunc(slices.Clone(want), func(line string) bool { return strings.Contains(body, line) })
		if len(missing) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("metrics lack %q", missing)
		}
	}
}

// TestNotReady asks a node that has nobody to elect it.
func TestNotReady(t *testing.T) {
	t.Parallel()
	config := serving(t)
	config.Raft = freeport.Address(t)
	config.Peers = map[string]string{DefaultID: config.Raft, "gone-1": freeport.Address(t), "gone-2": freeport.Address(t)}
	n := start(t, config)
	if resp, body := fetch(t, "GET", n.HTTPURL()+"/readyz"); resp.StatusCode != 503 || !strings.Contains(body, "no leader") {
		t.Errorf("/readyz: %s %q; want 503", resp.Status, body)
	}
	if resp, body := fetch(t, "GET", n.HTTPURL()+"/healthz"); resp.StatusCode != 200 {
		t.Errorf("/healthz: %s %q; want 200", resp.Status, body)
	}
	if resp, body := fetch(t, "GET", n.HTTPURL()+"/v1/status"); resp.StatusCode != 200 || !strings.Contains(body, `"leader": ""`) || strings.Contains(body, "published") {
		t.Errorf("/v1/status: %s %q", resp.Status, body)
	}
	if resp, _ := fetch(t, "GET", n.HTTPURL()+"/metrics"); resp.StatusCode != 200 {
		t.Errorf("/metrics: %s; want 200", resp.Status)
	}
}

// TestReadyWhenUpToDate: a node that knows its leader, and also that it has not
// applied everything yet, is not ready, and says how far it is.
func TestReadyWhenUpToDate(t *testing.T) {
	t.Parallel()
	n := lead(t, serving(t))
	revision := put(t, n, "k", "v")
	eventually(t, "the change is announced", func() bool {
		known, _ := n.announced.get()
		return known.Revision == revision
	})
	if resp, body := fetch(t, "GET", n.HTTPURL()+"/readyz"); resp.StatusCode != 200 {
		t.Fatalf("/readyz: %s %q; want 200", resp.Status, body)
	}
	known, _ := n.announced.get()
	known.Revision += 1000 // as a beacon would say of changes that are still to come
	n.announced.note(known)
	want := fmt.Sprintf("catching up with %s: revision %d of %d", n.ID(), revision, known.Revision)
	if resp, body := fetch(t, "GET", n.HTTPURL()+"/readyz"); resp.StatusCode != 503 || !strings.Contains(body, want) {
		t.Errorf("/readyz: %s %q; want 503 with %q", resp.Status, body, want)
	}
	if resp, _ := fetch(t, "GET", n.HTTPURL()+"/healthz"); resp.StatusCode != 200 {
		t.Errorf("/healthz: %s; want 200", resp.Status)
	}
	known.Revision = revision // of an older state: replaced only by forgetting
	n.announced.forget()
	n.announced.note(known)
	if resp, body := fetch(t, "GET", n.HTTPURL()+"/readyz"); resp.StatusCode != 200 {
		t.Errorf("/readyz: %s %q; want 200", resp.Status, body)
	}
}

// TestReadyNeedsTheBroker: a node whose external broker is gone can serve
// nobody.
func TestReadyNeedsTheBroker(t *testing.T) {
	t.Parallel()
	broker, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	broker.Start()
	t.Cleanup(func() { broker.Shutdown(); broker.WaitForShutdown() })
	config := serving(t)
	config.NATS, config.NATSURL = "", broker.ClientURL()
	n := lead(t, config)
	if resp, body := fetch(t, "GET", n.HTTPURL()+"/readyz"); resp.StatusCode != 200 {
		t.Fatalf("/readyz: %s %q; want 200", resp.Status, body)
	}
	broker.Shutdown()
	eventually(t, "the node notices", func() bool { return !n.serviceConn.IsConnected() })
	if resp, body := fetch(t, "GET", n.HTTPURL()+"/readyz"); resp.StatusCode != 503 || !strings.Contains(body, "no connection to the broker at "+broker.ClientURL()) {
		t.Errorf("/readyz: %s %q; want 503", resp.Status, body)
	}
}

// TestTwoNodesInOneProcess share nothing: not even metrics.
func TestTwoNodesInOneProcess(t *testing.T) {
	t.Parallel()
	a, b := lead(t, serving(t)), lead(t, serving(t))
	put(t, a, "k", "v")
	for n, want := range map[*Node]string{a: `watchcast_keys{node="node-1"} 1`, b: `watchcast_keys{node="node-1"} 0`} {
		if _, body := fetch(t, "GET", n.HTTPURL()+"/metrics"); !strings.Contains(body, want) {
			t.Errorf("metrics lack %q", want)
		}
	}
	if a.Status().Cluster == b.Status().Cluster {
		t.Errorf("two clusters have the id %s", fmt.Sprint(a.Status().Cluster))
	}
}
