package freeport_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
)

// Of 12,000 ports two processes would pick some of the same: each of them is free, as nobody listens.
func TestNoPortIsGivenTwice(t *testing.T) {
	t.Parallel()
	const count = 400
	if os.Getenv("TEST_PRINT_PORTS") != "" {
		for range count {
			port, err := freeport.Find()
			fmt.Println("port", port, err)
		}
		return
	}
	seen := map[string]bool{}
	take := func(port string) {
		if seen[port] {
			t.Errorf("port %s was given twice", port)
		}
		seen[port] = true
	}
	for range count {
		port, err := freeport.Find()
		if err != nil {
			t.Fatal(err)
		}
		take(fmt.Sprint(port))
	}
	other := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoPortIsGivenTwice$")
	other.Env = append(os.Environ(), "TEST_PRINT_PORTS=1")
	output, err := other.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	ports := 0
	for line := range strings.Lines(string(output)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "port" && fields[2] == "<nil>" {
			take(fields[1])
			ports++
		}
	}
	if ports != count {
		t.Errorf("the other process was given %d ports\n%s", ports, output)
	}
}
