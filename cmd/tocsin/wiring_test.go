package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/config"
)

// TestOptionsOfRedisURLCount: asynq is given clients of newRedis, too.
func TestOptionsOfRedisURLCount(t *testing.T) {
	t.Parallel()
	type limits struct {
		dial, read, write time.Duration
		retries           int
	}
	const all = "dial_timeout=10s&read_timeout=20s&write_timeout=30s&max_retries=5"
	for options, want := range map[string]limits{
		"":                 {2 * time.Second, 3 * time.Second, 3 * time.Second, 1},
		"read_timeout=20s": {2 * time.Second, 20 * time.Second, 3 * time.Second, 1},
		all:                {10 * time.Second, 20 * time.Second, 30 * time.Second, 5},
		"max_retries=-1":   {2 * time.Second, 3 * time.Second, 3 * time.Second, 0}, // how go-redis turns retries off
	} {
		for _, address := range []string{"redis://r:6379?", "redis-sentinel://r:26379?master=m&", "redis-cluster://r:6379?"} {
			c, err := config.Load(config.Serve, []string{"REDIS_URL=" + address + options})
			if err != nil {
				t.Fatal(err)
			}
			client := newRedis(c.Redis)
			var got limits
			switch client := client.(type) {
			case *redis.Client:
				o := client.Options()
				got = limits{o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.MaxRetries}
			case *redis.ClusterClient:
				o := client.Options()
				got = limits{o.DialTimeout, o.ReadTimeout, o.WriteTimeout, max(o.MaxRetries, 0)}
			}
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(limits{})); diff != "" {
				t.Errorf("%s%s (-want +got):\n%s", address, options, diff)
			}
		}
	}
}
