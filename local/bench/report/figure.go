package report

import (
	"cmp"
	"strings"
)

// A Figure is what is measured, and its unit. In files and tables it has one name, which ends with the unit.
type Figure struct {
	Name string
	Unit Unit
}

// Unit is the end of a figure's name.
type Unit string

const (
	perSecond    Unit = "/s"
	milliseconds Unit = " ms"
	msPerSecond  Unit = " ms/s"
	seconds      Unit = " s"
	microsPerOp  Unit = " µs/op"
	microsPerRow Unit = " µs/row"
	mebibytes    Unit = " MiB"
	bytesPerOp   Unit = " B/op"
	perOp        Unit = "/op"
	perFlush     Unit = "/flush"
	perWave      Unit = "/wave" // of a publish batch: old files call it so
	perBatch     Unit = "/batch"
	none         Unit = "" // a count, or a ratio
)

// units are in the order in which they are looked for at the end of a name.
var units = []Unit{microsPerRow, microsPerOp, bytesPerOp, msPerSecond, perSecond, perOp, perFlush, perWave, perBatch, mebibytes, milliseconds, seconds}

var (
	Accepted           = Figure{"accepted", perSecond}
	Applied            = Figure{"applied", perSecond}
	PipelineAccepted   = Figure{"pipeline accepted", perSecond}
	PipelineApplied    = Figure{"pipeline applied", perSecond}
	Produced           = Figure{"produced", perSecond}
	Consumed           = Figure{"consumed", perSecond}
	RelayRows          = Figure{"relay rows", perSecond}
	WorkerOperations   = Figure{"worker operations", perSecond}
	Reads              = Figure{"reads", perSecond}
	Settled            = Figure{"settled", perSecond} // transfers that arrived
	AcceptedOfDeposits = Figure{"accepted of deposits", none}
	SettledOfDeposits  = Figure{"settled of deposits", none}
	OperationsPerFlush = Figure{"operations", perFlush}
	RowsPerBatch       = Figure{"rows", perWave}
	MessagesPerBatch   = Figure{"messages", perBatch}
	Transactions       = Figure{"transactions", perOp}
	RoundTrips         = Figure{"round trips", perOp}
	WAL                = Figure{"WAL", bytesPerOp}
	IdleAfterStart     = Figure{"quiet after a start", seconds}
	VerifyTook         = Figure{"verify", seconds}
	VerifiedOperations = Figure{"verified operations", none}
	Refused            = Figure{"answers 503", none}
	Stalls             = Figure{"stalls over 200 ms", none}
	OfNothing          = Figure{"of nothing", none}
	OfPipeline         = Figure{"of pipeline", none}
	RelayOfLibrdkafka  = Figure{"relay of librdkafka", none}
	WorkerOfLibrdkafka = Figure{"worker of librdkafka", none}
	CPUOfEmpty         = Figure{"CPU of empty", none}
)

// CPU is what an operation costs a process; "system" is all of them but the generator.
func CPU(process string) Figure { return Figure{"CPU " + process, microsPerOp} }

// IdleCPU is the CPU time that a process takes while there is nothing to do.
func IdleCPU(process string) Figure { return Figure{"idle CPU " + process, msPerSecond} }

// RSS is the memory of a process.
func RSS(process string) Figure { return Figure{"RSS " + process, mebibytes} }

// Latency is a quantile, such as p99, of the time until something: accept, applied, read.
func Latency(until, quantile string) Figure { return Figure{until + " " + quantile, milliseconds} }

// OfAlone is a latency beside a flood, in terms of that without.
func OfAlone(until, quantile string) Figure {
	return Figure{until + " " + quantile + " of alone", none}
}

// Of is the figure of a part of a scenario.
func (f Figure) Of(part string) Figure { return Figure{part + " " + f.Name, f.Unit} }

// PerRow is a cost of an operation, of what counts rows.
func (f Figure) PerRow() Figure { return Figure{f.Name, microsPerRow} }

// process is the one whose CPU time it is, if it is one's.
func (f Figure) process() (string, bool) {
	name, found := strings.CutPrefix(f.Name, "CPU ")
	return name, found && f.Unit == microsPerOp && name != "system"
}

// IsCost reports whether it is a share of one operation, not of a time.
func (f Figure) IsCost() bool {
	return strings.HasPrefix(f.Name, "CPU ") || strings.HasSuffix(string(f.Unit), "/op")
}

func (f Figure) String() string { return f.Name + string(f.Unit) }

func (f Figure) compare(other Figure) int { return cmp.Compare(f.String(), other.String()) }

// MarshalText makes it a name in JSON.
func (f Figure) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads such a name.
func (f *Figure) UnmarshalText(text []byte) error {
	*f = Figure{Name: string(text)}
	if f.Name == Stalls.Name {
		return nil
	}
	for _, unit := range units {
		if name, found := strings.CutSuffix(string(text), string(unit)); found {
			*f = Figure{name, unit}
			return nil
		}
	}
	return nil
}
