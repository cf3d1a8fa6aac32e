package nats

import (
	"testing"

	"go.uber.org/goleak"
)

// Whoever starts goroutines here also waits for them, so no test may leave one
// behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
