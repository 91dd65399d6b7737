package system

import (
	"context"
	"time"
)

// Fault is one kind of fault.
type Fault struct {
	Name  string
	Throw func(ctx context.Context) error
	// Heal ends a fault that does not end by itself. A fault that holds for some time has to be
	// recovered from when it is healed. One that does not say for how long has to be survived: the
	// system recovers while it lasts, then it is healed, and that has to do no harm.
	Heal  func(ctx context.Context) error
	Holds time.Duration
	// Within is what recovery may take, apart from the backlog.
	Within time.Duration
	// LosesLog is a fault after which Kafka's log is not complete.
	LosesLog bool
	// LosesEvents is a fault after which the topic of outcomes is not complete, either.
	LosesEvents bool
	// MovesClock is a fault after which an operation may have an earlier time than the one before. Each backend
	// sees the step within a second, and until all have, the clocks of two apis differ.
	MovesClock bool
	// GoesBack is a fault after which Postgres may know less than it has shown to whoever looked.
	GoesBack bool
	// cutsSome is a fault that cuts some processes off from Redis, and not others: what they tell may be
	// older than what another told by what the worker's write is late.
	cutsSome bool
	// reportedBy is a service whose processes all have to name reported in /readyz before the fault heals.
	reportedBy, reported string
	// NotPossible is why it cannot be thrown here.
	NotPossible string
}

func (k Fault) CuttingSome() Fault { k.cutsSome = true; return k }
func (k Fault) Reporting(service, what string) Fault {
	k.reportedBy, k.reported = service, what
	return k
}

// What recovery may take: of a service, of a server that starts again, of a worker whose death is
// noticed by the end of its session, and of operations that Kafka has lost.
const (
	OfService = 10 * time.Second
	OfServer  = 30 * time.Second
	OfSession = 10*time.Second + OfService
	OfSweep   = time.Minute
)

// OfCluster is what recovery may take of a cluster that has lost brokers. The controller misses one after
// broker.session.timeout.ms (9 s): only then others lead in its place, and only then may it come back itself.
const OfCluster = 10*time.Second + OfServer

// OfWebhooks is what deliveries may take: of those that have failed twice the next one comes after 30 s, more or less.
const OfWebhooks = time.Minute
