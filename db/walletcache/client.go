package walletcache

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/redis/go-redis/v9"
)

// Open reads REDIS_URL, in the forms of go-redis, and connects when it is first used:
//
//	redis://user:password@host:6379/0                                    one server
//	redis://user:password@host:6379?addr=host2:6379&addr=host3:6379      a cluster; one addr is enough
//	redis://host:26379/0?master_name=NAME&addr=host2:26379&username=user&password=password   Sentinels
//
// With TLS the scheme is rediss. Its error does not show the URL, and with it a password.
func Open(text string) (redis.UniversalClient, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("is not a valid URL; a password's special characters are written %XX")
	}
	if u.Scheme != "redis" && u.Scheme != "rediss" && u.Scheme != "unix" {
		return nil, fmt.Errorf("begins with %q, and must with redis:// or, with TLS, rediss://; a cluster is redis://...?addr=..., Sentinels are redis://...?master_name=...", u.Scheme+"://")
	}
	switch query := u.Query(); {
	case query.Has("master_name"):
		options, err := redis.ParseFailoverURL(text)
		if err != nil {
			return nil, err
		}
		if options.ReplicaOnly || options.RouteByLatency || options.RouteRandomly {
			return nil, errNotMaster
		}
		options.ContextTimeoutEnabled, options.MaxRetries, options.DialerRetries, options.PipelinePoolSize = true, -1, 1, -1
		return redis.NewFailoverClient(options), nil
	case query.Has("addr"):
		options, err := redis.ParseClusterURL(text)
		if err != nil {
			return nil, err
		}
		if options.ReadOnly || options.RouteByLatency || options.RouteRandomly {
			return nil, errNotMaster
		}
		if u.Path != "" && u.Path != "/" && u.Path != "/0" {
			return nil, fmt.Errorf("a cluster has no database %s", u.Path)
		}
		options.ContextTimeoutEnabled, options.MaxRetries, options.DialerRetries, options.PipelinePoolSize = true, -1, 1, -1
		return redis.NewClusterClient(options), nil
	}
	options, err := redis.ParseURL(text)
	if err != nil {
		return nil, err
	}
	// Without the first a silent Redis would take its own, longer time. Nothing is tried again: the
	// caller's next attempt is soon enough, and knows why the last one failed. And there is one pool of
	// connections, or one kind of command could fail where the other works.
	options.ContextTimeoutEnabled, options.MaxRetries, options.DialerRetries, options.PipelinePoolSize = true, -1, 1, -1
	return redis.NewClient(options), nil
}

var errNotMaster = errors.New("replica_only, read_only and route_… cannot be used: a replica is behind")

// Silence ends go-redis' own log, which would have a line for every failure; a Guard reports the first.
func Silence() { redis.SetLogger(quiet{}) }

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
