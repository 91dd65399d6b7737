package faults

import (
	"testing"

	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m, nil) }
