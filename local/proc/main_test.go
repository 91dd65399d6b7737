package proc

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	Roles{}.Serve(os.Args[1:]) // the reaper
	os.Exit(m.Run())
}
