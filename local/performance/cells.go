package main

import "math"

// size is what so many operations a second need, by the measured figures of one cell.
type size struct {
	Rate       float64 // operations a second
	Cells      float64
	EachRate   float64 // of a cell
	CPU        float64 // cores, of all cells
	PostgresOf float64 // cores, of each cell's Postgres
	Brokers    float64
	Large      bool // each cell's servers are the large ones
	Measured   bool // at this rate; else computed
}

const (
	smallest = 1000.0 // a rate at which one cell was measured
	replicas = 3.0    // of every partition
)

// Planned is what a cell is given at most: half of what one has taken on many wallets, in whole thousands, so that a
// peak and a restart have room.
func (r *results) Planned() (float64, error) {
	accepted, err := r.Median(manyWallets, "accepted/s")
	return math.Floor(accepted/2/1000) * 1000, err
}

const manyWallets = "10000 wallets, c=256"

// Sizes are the rows of the table of cells. The first is measured at its rate, on one wallet, which is the dearest; the
// others multiply what an operation costs on many wallets.
func (r *results) Sizes() (rows []size, err error) {
	planned, err := r.Planned()
	if err != nil {
		return nil, err
	}
	for _, rate := range []float64{smallest, 10_000, 100_000, 1_000_000} {
		scenario := manyWallets
		if rate == smallest {
			scenario = "one wallet, 1000/s"
		}
		system, err := r.Median(scenario, "CPU system µs/op")
		if err != nil {
			return nil, err
		}
		postgres := 0.0
		for _, part := range []string{"postgres", "postgres for api", "postgres for relay", "postgres for worker"} {
			used, err := r.Median(scenario, "CPU "+part+" µs/op")
			if err != nil {
				return nil, err
			}
			postgres += used
		}
		cells := math.Ceil(rate / planned)
		rows = append(rows, size{
			Rate: rate, Cells: cells, EachRate: rate / cells, CPU: rate * system / 1e6, PostgresOf: rate / cells * postgres / 1e6,
			Brokers: cells * replicas, Large: rate > smallest, Measured: rate == smallest,
		})
	}
	return rows, nil
}
