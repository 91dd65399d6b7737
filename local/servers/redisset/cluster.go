package redisset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// Cluster is three masters with a replica each.
type Cluster struct{ nodes []*Node }

func NewCluster(s *proc.State) (*Cluster, error) {
	c := &Cluster{}
	for i := range 6 {
		bus, err := freeport.Find()
		if err != nil {
			return nil, err
		}
		name := "redis"
		if i > 0 {
			name = fmt.Sprintf("redis-%d", i+1)
		}
		n, err := NewNode(s, name, diskless, "cluster-enabled yes", "cluster-node-timeout 1500", fmt.Sprint("cluster-port ", bus),
			"cluster-require-full-coverage no")
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, n)
	}
	return c, nil
}

func (c *Cluster) Processes() []*proc.Process { return processesOf(c.nodes) }

// URL is REDIS_URL.
func (c *Cluster) URL() string {
	return fmt.Sprintf("redis://%s?addr=%s&addr=%s", c.nodes[0].Address(), c.nodes[1].Address(), c.nodes[2].Address())
}

// Form makes one cluster of servers that have started.
func (c *Cluster) Form(ctx context.Context) error {
	arguments := []string{"--cluster", "create"}
	for _, n := range c.nodes {
		arguments = append(arguments, n.Address())
	}
	output, err := exec.CommandContext(ctx, "redis-cli", append(arguments, "--cluster-replicas", "1", "--cluster-yes")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("form a cluster: %w\n%s", err, output)
	}
	return c.Settle(ctx)
}

// Settle waits until each of three masters can lose itself.
func (c *Cluster) Settle(ctx context.Context) (err error) {
	if !proc.Await(ctx, 40*time.Second, func() bool { err = c.unsettled(ctx); return err == nil }) {
		return fmt.Errorf("the cluster is not well: %w", err)
	}
	return nil
}

func (c *Cluster) unsettled(ctx context.Context) error {
	for _, n := range c.nodes {
		info, err := n.Ask(ctx, "CLUSTER INFO")
		if err != nil {
			return err
		}
		if !strings.Contains(fmt.Sprint(info), "cluster_state:ok") {
			return fmt.Errorf("%s says %v", n.Name, info)
		}
		replication, err := n.Ask(ctx, "INFO replication")
		if err != nil {
			return err
		}
		if text := fmt.Sprint(replication); strings.Contains(text, "role:slave") && !strings.Contains(text, "master_link_status:up") {
			return fmt.Errorf("%s is behind", n.Name)
		}
	}
	known, err := c.nodes[0].Ask(ctx, "CLUSTER NODES")
	if err != nil {
		return err
	}
	masters := 0
	for line := range strings.Lines(fmt.Sprint(known)) {
		if strings.Contains(line, "master") && strings.Contains(strings.TrimSpace(line), "connected ") && !strings.Contains(line, "fail") {
			masters++
		}
	}
	if masters < 3 {
		return fmt.Errorf("%d masters:\n%v", masters, known)
	}
	return nil
}

// slot is where a group of the cache lies.
func (c *Cluster) slot(ctx context.Context, group int) (int, error) {
	answer, err := c.nodes[0].Ask(ctx, fmt.Sprintf("CLUSTER KEYSLOT wallet:{%d}:", group))
	slot, _ := answer.(int64)
	return int(slot), err
}

// owner finds the master that has a slot, by its id and as a server, and the ids of the others.
func (c *Cluster) owner(ctx context.Context, slot int) (id string, at *Node, others map[string]*Node, err error) {
	client := redis.NewClient(&redis.Options{Addr: c.nodes[0].Address()})
	defer client.Close()
	shards, err := client.ClusterShards(ctx).Result()
	if err != nil {
		return "", nil, nil, err
	}
	others = map[string]*Node{}
	for _, s := range shards {
		i := slices.IndexFunc(s.Nodes, func(n redis.Node) bool { return n.Role == "master" && n.Health == "online" })
		if i < 0 {
			continue
		}
		master := s.Nodes[i]
		node := c.nodes[slices.IndexFunc(c.nodes, func(n *Node) bool { return int64(n.Port) == master.Port })]
		if slices.ContainsFunc(s.Slots, func(r redis.SlotRange) bool { return int(r.Start) <= slot && slot <= int(r.End) }) {
			id, at = master.ID, node
		} else if len(s.Slots) > 0 {
			others[master.ID] = node
		}
	}
	return id, at, others, nil
}

// MoveGroups moves each group's slot to another master, as a resharding does.
func (c *Cluster) MoveGroups(ctx context.Context) error {
	if err := c.Settle(ctx); err != nil {
		return err
	}
	for group := range walletcache.ClusterGroups {
		if err := c.move(ctx, group); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) move(ctx context.Context, group int) error {
	slot, err := c.slot(ctx, group)
	if err != nil {
		return err
	}
	fromID, from, others, err := c.owner(ctx, slot)
	if err != nil || from == nil || len(others) == 0 {
		return fmt.Errorf("slot %d has no owner, or nobody else: %w", slot, err)
	}
	ids := slices.Collect(maps.Keys(others))
	toID := ids[rand.IntN(len(ids))]
	to := others[toID]
	if err := errors.Join(to.Do(ctx, fmt.Sprintf("CLUSTER SETSLOT %d IMPORTING %s", slot, fromID)), from.Do(ctx, fmt.Sprintf("CLUSTER SETSLOT %d MIGRATING %s", slot, toID))); err != nil {
		return err
	}
	for {
		answer, err := from.Ask(ctx, fmt.Sprintf("CLUSTER GETKEYSINSLOT %d 1", slot))
		if err != nil {
			return err
		}
		keys, _ := answer.([]any)
		if len(keys) == 0 {
			break
		}
		if err := from.Do(ctx, fmt.Sprintf("MIGRATE 127.0.0.1 %d %v 0 1000 REPLACE", to.Port, keys[0])); err != nil {
			return err
		}
		proc.Pause(ctx, 5*time.Millisecond)
	}
	set := fmt.Sprintf("CLUSTER SETSLOT %d NODE %s", slot, toID)
	return errors.Join(to.Do(ctx, set), from.Do(ctx, set))
}

// KillMaster kills the master of some group, and returns it.
func (c *Cluster) KillMaster(ctx context.Context) (dead *Node, err error) {
	if err := c.Settle(ctx); err != nil {
		return nil, err
	}
	slot, err := c.slot(ctx, rand.IntN(walletcache.ClusterGroups))
	if err != nil {
		return nil, err
	}
	if !proc.Await(ctx, 40*time.Second, func() bool { _, dead, _, err = c.owner(ctx, slot); return err == nil && dead != nil }) {
		return nil, fmt.Errorf("nobody has slot %d: %w", slot, err)
	}
	dead.Kill()
	return dead, nil
}

// BringBack starts a master that was killed, when its replica has taken over.
func (c *Cluster) BringBack(ctx context.Context, gone *Node) error {
	return errors.Join(c.awaitReplacement(ctx, gone), gone.Start(context.WithoutCancel(ctx)))
}

// awaitReplacement waits until the cluster is whole without a server.
func (c *Cluster) awaitReplacement(ctx context.Context, dead *Node) error {
	for _, n := range c.nodes {
		if n != dead && !proc.Await(ctx, 20*time.Second, func() bool {
			info, err := n.Ask(ctx, "CLUSTER INFO")
			return err == nil && strings.Contains(fmt.Sprint(info), "cluster_slots_ok:16384")
		}) {
			return errors.New("no replica took over")
		}
	}
	return nil
}
