package servers

import (
	"context"
	"errors"
	"os/exec"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers/redisset"
)

// Redis is redis-server where it is installed, else a stand-in in a process of its own. Neither
// keeps anything: Redis is a cache.
func Redis(s *proc.State, secure *Secured) (*proc.Process, string, error) {
	port, err := freeport.Find()
	if err != nil {
		return nil, "", err
	}
	url := secure.redisURL(port)
	p := &proc.Process{
		Name:  "redis",
		Log:   s.Log("redis"),
		Ready: func(ctx context.Context) error { return pingRedis(ctx, secure, url) },
	}
	if path, err := exec.LookPath("redis-server"); err == nil {
		p.About = path
		p.Argv = append([]string{path, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.Dir}, secure.redisArguments(port)...)
	} else if secure != nil {
		return nil, "", errors.New("SECURE=on needs redis-server on PATH (Debian: apt-get install redis-server)")
	} else {
		p.About = "miniredis (redis-server is not on PATH)"
		p.Argv = []string{proc.Self(), "miniredis", proc.Address(port)}
	}
	return p, url, nil
}

func (p *Backing) redisMakers(s *proc.State) (makers []maker, err error) {
	var processes []*proc.Process
	switch p.Redis {
	case "sentinel":
		if p.Sentinels, err = redisset.NewSentinels(s); err != nil {
			return nil, err
		}
		processes, p.RedisURL = p.Sentinels.Processes(), p.Sentinels.URL()
	case "cluster":
		if p.RedisCluster, err = redisset.NewCluster(s); err != nil {
			return nil, err
		}
		processes, p.RedisURL = p.RedisCluster.Processes(), p.RedisCluster.URL()
	default:
		return []maker{func() (process *proc.Process, err error) {
			process, p.RedisURL, err = Redis(s, p.Secure)
			return process, err
		}}, nil
	}
	for _, process := range processes {
		makers = append(makers, func() (*proc.Process, error) { return process, nil })
	}
	return makers, nil
}

// settleRedis makes one of several servers that have started.
func (p *Backing) settleRedis(ctx context.Context) error {
	switch {
	case p.Sentinels != nil:
		return p.Sentinels.Settle(ctx)
	case p.RedisCluster != nil:
		return p.RedisCluster.Form(ctx)
	}
	return nil
}

// RedisClient is of local's own: it tries again, which a service's does not.
func (p *Backing) RedisClient() (redis.UniversalClient, error) {
	switch p.Redis {
	case "sentinel":
		options, err := redis.ParseFailoverURL(p.RedisURL)
		if err != nil {
			return nil, err
		}
		return redis.NewFailoverClient(options), nil
	case "cluster":
		options, err := redis.ParseClusterURL(p.RedisURL)
		if err != nil {
			return nil, err
		}
		return redis.NewClusterClient(options), nil
	}
	options, err := p.Secure.redisOptions(p.RedisURL)
	if err != nil {
		return nil, err
	}
	return redis.NewClient(options), nil
}

func pingRedis(ctx context.Context, secure *Secured, url string) error {
	options, err := secure.redisOptions(url)
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	defer client.Close()
	return client.Ping(ctx).Err()
}

// ServeMiniredis runs until it is killed. Its clock for expiring keys is moved by hand, by less than the
// lease of the cache, which would else be over at once.
func ServeMiniredis(args []string) error {
	if len(args) != 1 {
		return errors.New("miniredis: want an address")
	}
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr(args[0]); err != nil {
		return err
	}
	const tick = 50 * time.Millisecond
	for range time.Tick(tick) {
		server.FastForward(tick)
	}
	return nil
}
