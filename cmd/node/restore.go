package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/watchcast/watchcast/fsm"
)

const restoreDescription = `Replaces the whole state of a running cluster by a backup, of this cluster or of another. The node that is asked must lead. The cluster keeps its own id and the limit of its values, its revisions go on upwards, and watchers are told to read everything again.

To restore into a new cluster: start its nodes with empty data directories, and then restore.

    node backup state.backup        writes one
    node restore state.backup       puts it into the cluster of the node that runs here

--http can also be given in the environment, as WATCHCAST_HTTP.

Exit codes: 0 restored, 1 not, with one line on standard error that says why, 2 wrong flags.`

type restoreFlags struct {
	File      string `arg:"" placeholder:"FILE" help:"A file of node backup."`
	httpFlags `embed:""`
}

// restored is a node's answer to a restore.
type restored struct {
	Cluster        string `json:"cluster"`
	Revision       uint64 `json:"revision"`
	Keys           int    `json:"keys"`
	BackupCluster  string `json:"backup_cluster"`
	BackupRevision uint64 `json:"backup_revision"`
}

// restore is the command of that name.
func restore(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := &restoreFlags{}
	code, done := parse(f, "node restore", restoreDescription, args, stdout, stderr)
	if done {
		return code
	}
	r, err := f.run(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "node restore:", oneLine(err))
		return exitFailed
	}
	fmt.Fprintf(stdout, "restored %d keys of cluster %s at revision %d into cluster %s, which is at revision %d now\n",
		r.Keys, r.BackupCluster, r.BackupRevision, r.Cluster, r.Revision)
	return exitOK
}

// open returns the backup, of which there is to be a file: it is read twice, and to open a
// pipe would wait for whoever writes to it.
func (f *restoreFlags) open() (*os.File, error) {
	if f.File == "" {
		return nil, errNoName
	}
	switch info, err := os.Stat(f.File); {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory; give the name of a file in it", f.File)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file, and a backup is read twice; write it to a file first", f.File)
	}
	return os.Open(f.File)
}

func (f *restoreFlags) run(ctx context.Context) (r restored, err error) {
	file, err := f.open()
	if err != nil {
		return r, fmt.Errorf("cannot read the backup: %w", err)
	}
	defer file.Close()
	// The node checks it, too; here a bad one need not be sent.
	if _, err := fsm.CheckBackup(file); err != nil {
		return r, fmt.Errorf("%s: %w", f.File, err)
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return r, fmt.Errorf("cannot read the backup: %w", err)
	}
	req, err := f.request(ctx, http.MethodPut, "/v1/backup", file)
	if err != nil {
		return r, err
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Expect", "100-continue") // a node that does not lead says so before it is sent
	resp, err := f.do(req)
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; whether it was restored is unknown, so restore again")
		}
		return r, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return r, refusal(f.HTTP, resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		return r, fmt.Errorf("it is restored, but the answer of %s broke off: %w", f.HTTP, err)
	}
	return r, nil
}
