package testenv_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/internal/testenv"
)

func TestRedisGroups(t *testing.T) {
	t.Parallel()
	addresses := func(url string) []string {
		_, rest, _ := strings.Cut(url, "://")
		rest, _, _ = strings.Cut(rest, "/")
		return strings.Split(rest, ",")
	}
	for name, c := range map[string]struct {
		start  func(testing.TB) *testenv.RedisGroup
		client func(url string) redis.UniversalClient
	}{
		"sentinel": {testenv.RedisSentinel, func(url string) redis.UniversalClient {
			_, master, _ := strings.Cut(url, "?master=")
			return redis.NewFailoverClient(&redis.FailoverOptions{MasterName: master, SentinelAddrs: addresses(url)})
		}},
		"cluster": {testenv.RedisCluster, func(url string) redis.UniversalClient {
			return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses(url), ClusterStateReloadInterval: time.Second})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := c.start(t)
			client := c.client(g.URL())
			defer client.Close()
			write := func(value string) {
				t.Helper()
				testenv.Eventually(t, 30*time.Second, func() error {
					for i := range 20 { // in a cluster they lie on all servers
						if err := client.Set(t.Context(), fmt.Sprint("key", i), value, 0).Err(); err != nil {
							return err
						}
					}
					return nil
				}, "write "+value)
			}
			write("before")
			first := g.Master("key1")
			first.Kill()
			began := time.Now()
			write("without")
			t.Logf("another master after %s", time.Since(began).Round(time.Millisecond))
			testenv.Eventually(t, 30*time.Second, func() error {
				if g.Master("key1") == first {
					return errors.New("the dead one still is")
				}
				return nil
			}, "another master")
			first.Start()
			write("after")
			if got, err := client.Get(t.Context(), "key1").Result(); err != nil || got != "after" {
				t.Errorf("%q (%v)", got, err)
			}
		})
	}
}
