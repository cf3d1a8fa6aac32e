package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// TestFoundingCutShort: a node that was killed while it founded its cluster, at its first
// start, founds it at the next one: it has promised nothing to anybody yet.
func TestFoundingCutShort(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cut  func(dir *dataDir) error
	}{
		{"before there is room for entries", func(dir *dataDir) error {
			log, meta, err := openLog(dir.raft(), hclog.NewNullLogger(), func(error) {})
			if err != nil {
				return err
			}
			segment := filepath.Join(dir.path, filepath.FromSlash(segmentFile))
			return errors.Join(log.Close(), meta.Close(), os.Truncate(segment, 0))
		}},
		{"before the first entry", func(dir *dataDir) error {
			log, meta, err := openLog(dir.raft(), hclog.NewNullLogger(), func(error) {})
			if err != nil {
				return err
			}
			return errors.Join(log.SetUint64([]byte(currentTerm), 1), log.Close(), meta.Close())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			config := single(t)
			dir, err := openDataDir(config.DataDir)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.cut(dir), dir.close()); err != nil {
				t.Fatal(err)
			}
			n := lead(t, config)
			revision := put(t, n, "k", "v")
			stop(t, n)
			wantValue(t, lead(t, config), "k", "v", revision)
		})
	}
}
