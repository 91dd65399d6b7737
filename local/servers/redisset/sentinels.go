package redisset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// Sentinels are two servers, of which one replicates the other, and three Sentinels that promote it when the other
// is gone for a second.
type Sentinels struct {
	servers, sentinels []*Node
}

func NewSentinels(s *proc.State) (*Sentinels, error) {
	master, err := NewNode(s, "redis", diskless)
	if err != nil {
		return nil, err
	}
	replica, err := NewNode(s, "redis-2", diskless, fmt.Sprint("replicaof 127.0.0.1 ", master.Port))
	if err != nil {
		return nil, err
	}
	all := &Sentinels{servers: []*Node{master, replica}}
	for _, name := range []string{"sentinel", "sentinel-2", "sentinel-3"} {
		n, err := prepare(s, name, "redis-sentinel")
		if err != nil {
			return nil, err
		}
		if err := n.configure(
			fmt.Sprintf("sentinel monitor wallet 127.0.0.1 %d 2", master.Port), "sentinel down-after-milliseconds wallet 1000", "sentinel failover-timeout wallet 2000",
		); err != nil {
			return nil, err
		}
		all.sentinels = append(all.sentinels, n)
	}
	return all, nil
}

func (s *Sentinels) Processes() []*proc.Process {
	return processesOf(slices.Concat(s.servers, s.sentinels))
}

// URL is REDIS_URL.
func (s *Sentinels) URL() string {
	return fmt.Sprintf("redis://%s/0?master_name=wallet&addr=%s&addr=%s", s.sentinels[0].Address(), s.sentinels[1].Address(), s.sentinels[2].Address())
}

// Master is the server that the first Sentinel names, and the other one.
func (s *Sentinels) Master(ctx context.Context) (now, other *Node, err error) {
	answer, err := s.sentinels[0].Ask(ctx, "SENTINEL GET-MASTER-ADDR-BY-NAME wallet")
	if err != nil {
		return nil, nil, err
	}
	if fmt.Sprint(answer) == fmt.Sprintf("[127.0.0.1 %d]", s.servers[0].Port) {
		return s.servers[0], s.servers[1], nil
	}
	return s.servers[1], s.servers[0], nil
}

// Settle waits until the other server replicates, and can be promoted: a Sentinel that stalled for 2 s does nothing for 30 s.
func (s *Sentinels) Settle(ctx context.Context) (err error) {
	if !proc.Await(ctx, 90*time.Second, func() bool { err = s.unsettled(ctx); return err == nil }) {
		return fmt.Errorf("the servers are not ready for a failover: %w", err)
	}
	return nil
}

func (s *Sentinels) unsettled(ctx context.Context) error {
	now, other, err := s.Master(ctx)
	if err != nil {
		return err
	}
	otherInfo, err := other.Ask(ctx, "INFO replication")
	if err != nil {
		return err
	}
	info, err := now.Ask(ctx, "INFO replication")
	if err != nil {
		return err
	}
	known, err := s.sentinels[0].Ask(ctx, "SENTINEL MASTER wallet")
	if err != nil {
		return err
	}
	state := fmt.Sprint(known)
	if !strings.Contains(fmt.Sprint(info), "role:master") || !strings.Contains(fmt.Sprint(otherInfo), "master_link_status:up") ||
		!strings.Contains(state, "num-slaves:1") && !strings.Contains(state, "num-slaves 1") {
		return fmt.Errorf("%v, %v", otherInfo, state)
	}
	return nil
}

// KillMaster kills the master, whose replica misses what is written just before, and returns it.
func (s *Sentinels) KillMaster(ctx context.Context) (*Node, error) {
	if err := s.Settle(ctx); err != nil {
		return nil, err
	}
	now, other, err := s.Master(ctx)
	if err != nil {
		return nil, err
	}
	other.Signal(syscall.SIGSTOP)
	proc.Pause(ctx, 300*time.Millisecond)
	now.Kill()
	other.Signal(syscall.SIGCONT)
	return now, nil
}

// StopMaster stops the master, and returns it.
func (s *Sentinels) StopMaster(ctx context.Context) (*Node, error) {
	if err := s.Settle(ctx); err != nil {
		return nil, err
	}
	now, _, err := s.Master(ctx)
	if err == nil {
		now.Signal(syscall.SIGSTOP)
	}
	return now, err
}

// Failover asks for another master, as an operator does, and waits for it.
func (s *Sentinels) Failover(ctx context.Context) error {
	if err := s.Settle(ctx); err != nil {
		return err
	}
	before, _, err := s.Master(ctx)
	if err != nil {
		return err
	}
	if !proc.Await(ctx, 10*time.Second, func() bool { err = s.sentinels[0].Do(ctx, "SENTINEL FAILOVER wallet"); return err == nil }) {
		return err
	}
	return s.AwaitPromotion(ctx, before)
}

// BringBack starts a master that was killed, when another is promoted.
func (s *Sentinels) BringBack(ctx context.Context, gone *Node) error {
	return errors.Join(s.AwaitPromotion(ctx, gone), gone.Start(context.WithoutCancel(ctx)))
}

// AwaitPromotion waits until another server is the master.
func (s *Sentinels) AwaitPromotion(ctx context.Context, before *Node) error {
	if !proc.Await(ctx, 90*time.Second, func() bool {
		now, _, err := s.Master(ctx)
		return err == nil && now != before
	}) {
		return errors.New("no other master within 90 s")
	}
	return nil
}
