package fanouttest_test

import (
	"testing"

	"go.uber.org/goleak"
)

// The package starts no goroutine, so no test may leave one behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
