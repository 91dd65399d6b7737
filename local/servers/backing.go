// Package servers runs the backing services: Postgres and its standbys, Redis and Kafka, or stand-ins for
// the last two; with TLS and passwords, if that is asked for.
package servers

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers/redisset"
)

// Backing are the three servers that the services work with. One whose address was given is used as it
// is; the others are children.
type Backing struct {
	DatabaseURL  string
	RedisURL     string
	KafkaBrokers string
	// Kafka is apache or kfake, for brokers that are started; of the latter there is always one.
	Kafka   string
	Brokers int
	// Redis is sentinel or cluster, for several servers that are started; empty: one. What they can be asked for is in
	// Sentinels or RedisCluster then.
	Redis        string
	Sentinels    *redisset.Sentinels
	RedisCluster *redisset.Cluster
	// KafkaListeners are further doors to Apache Kafka, by broker.
	KafkaListeners [][]Listener
	// PostgresEnv is for Postgres alone.
	PostgresEnv []string
	// Secure makes them speak TLS and ask for passwords; nil: they do not.
	Secure *Secured

	Processes []*proc.Process
}

// Start starts those that have no address yet, all at once, and waits until they are ready.
func (p *Backing) Start(ctx context.Context, s *proc.State, out io.Writer, changed func(name, what string)) error {
	starting, cancel := context.WithCancel(ctx)
	defer cancel()
	makers, err := p.makers(starting, s)
	if err != nil {
		return err
	}
	results := make(chan started)
	for _, make := range makers {
		go func() { results <- startOne(starting, make, out, changed) }()
	}
	slow := time.NewTicker(5 * time.Second)
	defer slow.Stop()
	for waiting := len(makers); waiting > 0; {
		select {
		case result := <-results:
			waiting--
			if result.err == nil {
				p.Processes = append(p.Processes, result.process)
			} else if err == nil {
				// The others only report that they were cancelled.
				err = result.err
				cancel()
			}
		case <-slow.C:
			fmt.Fprintf(out, "  waiting for %d more; the first time they are downloaded\n", waiting)
		}
	}
	if err == nil {
		err = p.settleRedis(ctx)
	}
	if err != nil {
		p.Stop()
		if ctx.Err() != nil {
			return proc.ErrInterrupted
		}
		return err
	}
	// In whatever order they came: a seed of the fault campaign chooses the same ones again.
	slices.SortFunc(p.Processes, func(a, b *proc.Process) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// maker prepares a server; the first time it may have to download it.
type maker func() (*proc.Process, error)

// makers are for those that have no address yet. They note where these will be.
func (p *Backing) makers(ctx context.Context, s *proc.State) (makers []maker, err error) {
	if p.DatabaseURL == "" {
		makers = append(makers, func() (process *proc.Process, err error) {
			process, p.DatabaseURL, err = Postgres(s, p.PostgresEnv, p.Secure)
			return process, err
		})
	}
	if p.RedisURL == "" {
		more, err := p.redisMakers(s)
		if err != nil {
			return nil, err
		}
		makers = append(makers, more...)
	}
	if p.KafkaBrokers == "" {
		nodes, err := kafkaNodes(max(1, p.Brokers), p.KafkaListeners)
		if err != nil {
			return nil, err
		}
		p.KafkaBrokers = nodes.addresses()
		for i := range nodes {
			makers = append(makers, func() (*proc.Process, error) { return kafkaPart(ctx, s, p.Kafka, nodes, i, p.Secure) })
		}
	}
	return makers, nil
}

// started is a server that is ready, or why it is not.
type started struct {
	process *proc.Process
	err     error
}

func startOne(ctx context.Context, make maker, out io.Writer, changed func(name, what string)) started {
	began := time.Now()
	process, err := make()
	if err != nil {
		return started{nil, err}
	}
	process.Changed = func(what string) { changed(process.Name, what) }
	if err := process.Start(ctx); err != nil {
		return started{nil, err}
	}
	fmt.Fprintf(out, "  %-9s ready in %4.1f s  %s\n", process.Name, time.Since(began).Seconds(), process.About)
	return started{process, nil}
}

func (p *Backing) Stop() {
	proc.StopAll(p.Processes)
	p.Processes = nil
}

// HostOf is the host and port of a URL, or empty.
func HostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}
