package main

import (
	"fmt"

	"github.com/legendary-wallet/legendary-wallet/service"
)

// What may be wrong with a worker, besides the conditions of every service.
var (
	lagging       = service.Condition{Name: "lag", NotReady: true}
	offsetCommit  = service.Condition{Name: "offset commit"}
	assignment    = service.Condition{Name: "assignment"}
	withoutWorker = service.Condition{Name: "unassigned partitions"}
	sweepAlone    = service.Condition{Name: "postgres for sweeping", Dependency: "postgres"}
	sweeping      = service.Condition{Name: "sweep"}
	expireAlone   = service.Condition{Name: "postgres for expiring holds", Dependency: "postgres"}
	expiring      = service.Condition{Name: "expiry of holds"}
	noEvents      = service.Condition{Name: "events"}
)

// blocked is a partition whose messages cannot be applied.
func blocked(partition int32) service.Condition {
	return service.Condition{Name: fmt.Sprintf("partition %d", partition)}
}
