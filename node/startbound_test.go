package node

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchcast/watchcast/internal/freeport"
)

// TestStartFailsBesideStandingDisk: a start that fails when the node has been elected ends, though
// the only other node stores nothing, because its disk stands still, and keeps the node in office.
func TestStartFailsBesideStandingDisk(t *testing.T) {
	t.Parallel()
	other := founder(t)
	c := joiner(t, other, "n2")
	c.HTTP = freeport.Address(t)
	n, err := Start(bounded(t), c)
	if err != nil {
		t.Fatal(err)
	}
	awaitMember(t, other, "n2", true)
	// With less in its log than the other one has it would not be elected.
	level := func() bool { return n.consensus.raft.LastIndex() == other.consensus.raft.LastIndex() }
	eventually(t, "n2 has everything", level)
	stop(t, n)
	disk := standingDisk{of: &other.consensus.stable.(*storage).mu}
	observer := raft.NewObserver(nil, false, func(o *raft.Observation) bool {
		if l, ok := o.Data.(raft.LeaderObservation); ok && l.LeaderID == "n2" { // which it has voted for
			disk.stand(true)
		}
		return false
	})
	// Where the node is to join there is another cluster, as it learns when it leads.
	through := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for leads := false; !leads && r.Context().Err() == nil; pause(r.Context(), leaderPoll) {
			leads = disk.stands() && statusOf(r, c.HTTP).Leader == "n2"
		}
		json.NewEncoder(w).Encode(Status{Cluster: "another"})
	}))
	t.Cleanup(through.Close)
	t.Cleanup(func() { disk.stand(false) }) // before the nodes are closed
	c.Join, c.ElectionTimeout = through.URL, 500*time.Millisecond
	for range 10 {
		eventually(t, "nobody leads", func() bool { return other.Leader() == "" })
		other.consensus.raft.RegisterObserver(observer)
		err := within(t, "Start", func() (err error) { n, err = Start(bounded(t), c); return err })
		other.consensus.raft.DeregisterObserver(observer)
		if err != nil {
			wantOneLine(t, err, ErrJoin, "another")
			if !errors.Is(err, ErrOtherCluster) {
				t.Errorf("%v; want %v", err, ErrOtherCluster)
			}
			return
		}
		disk.stand(false) // it was not elected while it asked
		eventually(t, "n2 has everything", level)
		stop(t, n)
	}
	t.Fatal("n2 was never elected while it asked")
}

// standingDisk is one that may stand still.
type standingDisk struct {
	of *sync.Mutex // which each write to it takes

	mu    sync.Mutex
	still bool
}

func (d *standingDisk) stand(still bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case still && !d.still:
		d.of.Lock()
	case !still && d.still:
		d.of.Unlock()
	}
	d.still = still
}

func (d *standingDisk) stands() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.still
}

// statusOf asks a node for the status, for as long as it is asked itself.
func statusOf(r *http.Request, addr string) (s Status) {
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+addr+"/v1/status", nil)
	if err != nil {
		return s
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return s
	}
	defer answer.Body.Close()
	json.NewDecoder(answer.Body).Decode(&s)
	return s
}
