package main

import (
	"context"
	"os/exec"
	"strconv"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// redisPart is redis-server where it is installed, else a stand-in in a process of its own. Neither
// keeps anything: Redis is a cache.
func redisPart(s *state) (*process, string, error) {
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	url := "redis://" + address(port) + "/0"
	p := &process{
		name:  "redis",
		log:   s.log("redis"),
		ready: func(ctx context.Context) error { return pingRedis(ctx, url) },
	}
	if path, err := exec.LookPath("redis-server"); err == nil {
		p.about = path
		p.argv = []string{path, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "no", "--dir", s.dir}
	} else {
		p.about = "miniredis (redis-server is not on PATH)"
		p.argv = []string{self(), "miniredis", address(port)}
	}
	return p, url, nil
}

func pingRedis(ctx context.Context, url string) error {
	options, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	defer client.Close()
	return client.Ping(ctx).Err()
}

// serveMiniredis runs until it is killed. Its clock for expiring keys stands still unless it is moved.
func serveMiniredis(addr string) error {
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr(addr); err != nil {
		return err
	}
	const second = time.Second
	for range time.Tick(second) {
		server.FastForward(second)
	}
	return nil
}
