package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchcast/watchcast/fsm"
)

// damage is what a disk may do to a snapshot.
type damage struct {
	name string
	do   func(dir string) error
}

var damages = []damage{
	{"flipped byte", func(dir string) error { return flip(filepath.Join(dir, stateFile)) }},
	{"cut short", func(dir string) error { return os.Truncate(filepath.Join(dir, stateFile), 20) }},
	{"no state", func(dir string) error { return os.Remove(filepath.Join(dir, stateFile)) }},
	{"state is a directory", func(dir string) error {
		state := filepath.Join(dir, stateFile)
		return errors.Join(os.Remove(state), os.Mkdir(state, 0o750))
	}},
	{"no metadata", func(dir string) error { return os.Remove(filepath.Join(dir, "meta.json")) }},
	{"other metadata", func(dir string) error {
		return rewriteMeta(dir, func(meta map[string]any) { meta["Term"] = meta["Term"].(float64) + 1 })
	}},
	{"garbage metadata", func(dir string) error { return os.WriteFile(filepath.Join(dir, "meta.json"), []byte("{"), 0o640) }},
	{"gone", os.RemoveAll},
}

// rewriteMeta changes what Raft keeps of a snapshot beside its state.
func rewriteMeta(dir string, change func(meta map[string]any)) error {
	path := filepath.Join(dir, "meta.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	meta := make(map[string]any)
	if err := json.Unmarshal(text, &meta); err != nil {
		return err
	}
	change(meta)
	if text, err = json.Marshal(meta); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o640)
}

// garble puts something else in the place of a state, with the sum that Raft keeps of it.
func garble(dir string) error {
	garbage := []byte("something else")
	sum := crc64.New(crc64.MakeTable(crc64.ECMA))
	sum.Write(garbage)
	return errors.Join(
		rewriteMeta(dir, func(meta map[string]any) { meta["CRC"], meta["Size"] = sum.Sum(nil), len(garbage) }),
		os.WriteFile(filepath.Join(dir, stateFile), garbage, 0o640),
	)
}

// flip changes a byte in the middle of a file.
func flip(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	return os.WriteFile(path, data, 0o640)
}

// newestDir returns the directory of a node's newest snapshot.
func newestDir(t *testing.T, n *Node) string {
	t.Helper()
	list, err := n.consensus.snapshots.List()
	if err != nil || len(list) == 0 {
		t.Fatalf("%d snapshots, %v", len(list), err)
	}
	return filepath.Join(n.dir.snapshots(), list[0].ID)
}

// twoSnapshots has a node take one, write more, and take another, behind which its log begins.
func twoSnapshots(t *testing.T, n *Node) (last uint64) {
	t.Helper()
	for i := range 2 {
		for j := range 10 {
			last = put(t, n, fmt.Sprintf("k.%d", j), fmt.Sprint(i))
		}
		if err := n.consensus.compact(1); err != nil {
			t.Fatal(err)
		}
	}
	return last
}

// TestDamagedSnapshotOfALeader: the newest snapshot of a leader that runs is damaged, and
// another node needs one. The leader says so once, takes a new one, and the other node catches up.
func TestDamagedSnapshotOfALeader(t *testing.T) {
	t.Parallel()
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			log := &logged{}
			nodes := clusterOf(t, 3, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
			leader, others := split(t, nodes)
			down := others[0]
			stop(t, down)
			last := twoSnapshots(t, leader)
			if err := d.do(newestDir(t, leader)); err != nil {
				t.Fatal(err)
			}
			again := start(t, down.config)
			eventually(t, "the node that was away has caught up", func() bool { return again.Revision() >= last })
			if got := leader.Status().Log.Damaged; got != 1 {
				t.Errorf("%d damaged snapshots are counted; want 1", got)
			}
			if got := log.lines("snapshot is damaged"); len(got) != 1 {
				t.Errorf("%q tell of it; want one line", got)
			}
			config := leader.config
			stop(t, leader)
			if n := start(t, config); n.Status().Log.Damaged != 0 {
				t.Error("a start finds it damaged again")
			}
		})
	}
}

// TestDamagedSnapshotIsTriedAgain: the disk takes no new snapshot in the place of the damaged
// one, until it does. The leader tries that again by itself, and meanwhile goes on: it is ready,
// and gives backups.
func TestDamagedSnapshotIsTriedAgain(t *testing.T) {
	t.Parallel()
	log := &logged{}
	nodes := clusterOf(t, 3, withHTTP, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	leader, others := split(t, nodes)
	down := others[0]
	stop(t, down)
	twoSnapshots(t, leader)
	dir := leader.dir.snapshots()
	if err := errors.Join(os.Rename(dir, dir+".away"), os.WriteFile(dir, nil, 0o640)); err != nil {
		t.Fatal(err)
	}
	again := start(t, down.config)
	eventually(t, "the leader says that it cannot", func() bool { return len(log.lines("no snapshot takes the place")) > 0 })
	last := put(t, leader, "k", "v")
	if again.Revision() >= last {
		t.Error("the other node has all already")
	}
	answer, backup := fetch(t, http.MethodGet, leader.HTTPURL()+"/v1/backup")
	info, err := fsm.CheckBackup(strings.NewReader(backup))
	if answer.StatusCode != http.StatusOK || err != nil || info.Revision < last {
		t.Errorf("the backup is %s, of revision %d, %v; want one of %d at least", answer.Status, info.Revision, err, last)
	}
	if answer, body := fetch(t, http.MethodGet, leader.HTTPURL()+"/readyz"); answer.StatusCode != http.StatusOK {
		t.Errorf("it is not ready: %s %s", answer.Status, body)
	}
	_, metrics := fetch(t, http.MethodGet, leader.HTTPURL()+"/metrics")
	if want := `watchcast_damaged_snapshots_total{node="` + leader.ID() + `"} 1`; !strings.Contains(metrics, want) {
		t.Errorf("the metrics have no %s", want)
	}
	if got := leader.Status().Log.Damaged; got != 1 {
		t.Errorf("%d damaged snapshots are counted; want 1", got)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir), flip(filepath.Join(newestDir(t, leader), stateFile))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node that was away has caught up", func() bool { return again.Revision() >= last })
	if got := log.lines("snapshot is damaged"); len(got) != 1 {
		t.Errorf("%q tell of it; want one line", got)
	}
}

// TestDamagedSnapshotsArePaced: a disk that damages every snapshot does not have the node write
// them without end.
func TestDamagedSnapshotsArePaced(t *testing.T) {
	t.Parallel()
	n := lead(t, single(t))
	put(t, n, "k", "v")
	takeSnapshot(t, n)
	var replaced [2]time.Time
	for i := range replaced {
		dir := newestDir(t, n)
		if err := flip(filepath.Join(dir, stateFile)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := n.consensus.snapshots.Open(filepath.Base(dir)); !errors.Is(err, errDamaged) {
			t.Fatalf("error is %v; want that it is damaged", err)
		}
		eventually(t, "another one takes its place", func() bool { return newestDir(t, n) != dir })
		replaced[i] = time.Now()
	}
	if got := replaced[1].Sub(replaced[0]); got < replacePeriod/2 {
		t.Errorf("two were replaced within %v; want %v between them", got, replacePeriod)
	}
	if got := n.Status().Log.Damaged; got != 2 {
		t.Errorf("%d damaged snapshots are counted; want 2", got)
	}
}

// TestStartFromOlderSnapshot: the newest snapshot is damaged, and the log reaches back to the
// one before: the node starts with all that was acknowledged, says so, and takes a new one.
func TestStartFromOlderSnapshot(t *testing.T) {
	t.Parallel()
	for _, d := range append(slices.Clone(damages), damage{"another state", garble}) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			log := &logged{}
			config := single(t)
			config.Logger = slog.New(slog.NewTextHandler(log, nil))
			n := lead(t, config)
			put(t, n, "k", "1")
			if err := n.consensus.compact(1); err != nil {
				t.Fatal(err)
			}
			last := put(t, n, "k", "2")
			if err := n.consensus.compact(1 << 10); err != nil { // the log stays
				t.Fatal(err)
			}
			dir := newestDir(t, n)
			stop(t, n)
			if err := d.do(dir); err != nil {
				t.Fatal(err)
			}
			n = lead(t, config)
			wantValue(t, n, "k", "2", last)
			if d.name == "gone" {
				return // nothing tells that it was there
			}
			eventually(t, "it has a sound snapshot", func() bool {
				list, err := n.consensus.snapshots.List()
				if err != nil || len(list) == 0 || filepath.Join(n.dir.snapshots(), list[0].ID) == dir {
					return false
				}
				return checkSnapshot(n.consensus.snapshots, list[0].ID) == nil
			})
			if got := log.lines("snapshot is damaged"); len(got) != 1 {
				t.Errorf("%q tell of it; want one line", got)
			}
			stop(t, n)
			wantValue(t, lead(t, config), "k", "2", last)
		})
	}
}

// TestNoStartBehindAGap: the newest snapshot is damaged, and the log does not reach back to
// the one before. The node does not start with less than it has acknowledged, also where no
// entry is left that would show the gap.
func TestNoStartBehindAGap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		gap  func(*testing.T, *Node)
	}{
		{"log behind it", func(t *testing.T, n *Node) { put(t, n, "k", "3") }},
		{"no log", func(t *testing.T, n *Node) {
			first, err := n.consensus.logs.FirstIndex()
			if err != nil {
				t.Fatal(err)
			}
			last, err := n.consensus.logs.LastIndex()
			if err != nil {
				t.Fatal(err)
			}
			stop(t, n)
			dropLog(t, n.config, first, last)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			config := single(t)
			n := lead(t, config)
			twoSnapshots(t, n)
			dir := newestDir(t, n)
			c.gap(t, n)
			stop(t, n)
			if err := flip(filepath.Join(dir, stateFile)); err != nil {
				t.Fatal(err)
			}
			damaged := readImage(t, config.DataDir)
			for range 2 {
				_, err := Start(bounded(t), config)
				wantOneLine(t, err, ErrCorrupt, config.DataDir, filepath.Base(dir), "restore", "backup")
				damaged.wantUnchanged(t, config.DataDir, rewritten)
			}
			if err := flip(filepath.Join(dir, stateFile)); err != nil {
				t.Fatal(err)
			}
			lead(t, config)
		})
	}
}

// dropLog removes a log that was received with a snapshot and replaced by it, as Raft does
// before it acknowledges that.
func dropLog(t *testing.T, config Config, first, last uint64) {
	t.Helper()
	log, meta, err := openLog(filepath.Join(config.DataDir, "raft"), raftLogger(testLogger(t)), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(log.DeleteRange(first, last), log.Close(), meta.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotDamagedOnTheWay: a node that receives a damaged snapshot refuses it, keeps
// nothing of it, and starts again with what it had.
func TestSnapshotDamagedOnTheWay(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t, 3)
	leader, others := split(t, nodes)
	node := others[0]
	put(t, leader, "k", "v")
	last := put(t, leader, "k", "w")
	if err := leader.consensus.compact(leastTrailing); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has applied that", func() bool { return node.Revision() >= last })
	meta, in := newestSnapshot(t, leader)
	whole, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	term, above := node.consensus.raft.CurrentTerm()+1, *meta
	above.Index += 1000
	from := ghostOf(t, leader)
	stop(t, leader)
	stop(t, others[1])
	for _, at := range []int{0, len(whole) / 2, len(whole) - 1} {
		bad := bytes.Clone(whole)
		bad[at] ^= 1
		if answer, err := from.install(node, term, &above, bytes.NewReader(bad)); err == nil && answer.Success {
			t.Errorf("with byte %d flipped it is taken", at)
		}
	}
	if files, err := named(node.dir.snapshots(), "", ""); err != nil || len(files) > 0 {
		t.Errorf("left are %q, %v; want nothing", files, err)
	}
	wantEntry(t, node, "k", "w")
	stop(t, node)
	again := start(t, node.config)
	start(t, others[1].config)
	eventually(t, "it has all again", func() bool { return again.Revision() >= last })
	wantEntry(t, again, "k", "w")
}
