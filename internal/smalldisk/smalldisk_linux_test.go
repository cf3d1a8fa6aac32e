package smalldisk

import (
	"os"
	"testing"
)

// TestMakeRoom: what Fill took is free as soon as MakeRoom returns, also while somebody has the
// file open: a process that another test starts has all files of this one until it is another program.
func TestMakeRoom(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	disk := New(t, 8*mib)
	disk.Fill(mib)
	f, err := os.Open(disk.ballast())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	disk.MakeRoom()
	if free := disk.Free(); free < 7*mib {
		t.Errorf("%d bytes are free; want nearly all of %d", free, 8*mib)
	}
}
