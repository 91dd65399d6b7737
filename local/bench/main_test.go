package bench

import (
	"testing"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m, proc.Roles{"nothing": ServeNothing}) }
