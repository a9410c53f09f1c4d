package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/internal/testenv/freeport"
)

// RedisGroup is several servers that are one Redis: when a master dies, another server takes its place within seconds.
type RedisGroup struct {
	t       testing.TB
	url     string
	servers map[string]*RedisServer // by address
	master  func(ctx context.Context, key string) (address string, err error)
}

// URL addresses the group, in the form of Tocsin's REDIS_URL.
func (g *RedisGroup) URL() string { return g.url }

// Master is the server that takes writes to a key now. It may be killed, and started again.
func (g *RedisGroup) Master(key string) *RedisServer {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 10*time.Second)
	defer cancel()
	address, err := g.master(ctx, key)
	if err != nil {
		g.t.Fatalf("ask for the master of %s: %v", key, err)
	}
	return g.servers[address]
}

// add starts one more server with settings.
func (g *RedisGroup) add(program string, settings ...string) (address string, client *redis.Client) {
	g.t.Helper()
	s, port, err := startOnPort("redis", func(s *server) (port int, err error) {
		var bus int
		if port, err = freeport.Take(); err == nil {
			bus, err = freeport.Take()
		}
		own := append(slices.Concat(redisSettings, settings), "--repl-diskless-sync-delay", "0")
		if slices.Contains(settings, "--cluster-enabled") {
			own = append(own, "--cluster-port", strconv.Itoa(bus))
		}
		s.argv = localRedis(program, s, port, own)
		return port, err
	})
	if err != nil {
		g.t.Fatalf("start Redis: %v", err)
	}
	address = localAddress(port)
	g.servers[address] = ownRedis(g.t, s, redisURL(port))
	return address, g.client(address)
}

// client asks one server alone.
func (g *RedisGroup) client(address string) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: address})
	g.t.Cleanup(func() { _ = client.Close() })
	return client
}

func localAddress(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// wait waits until Redis says what it must.
func (g *RedisGroup) wait(what string, ask func(ctx context.Context) (string, error), words ...string) {
	g.t.Helper()
	Eventually(g.t, startTimeout, func() error {
		text, err := ask(g.t.Context())
		for _, w := range words {
			if err == nil && !strings.Contains(text, w) {
				err = fmt.Errorf("no %q in %q", w, text)
			}
		}
		return err
	}, what)
}

// do runs a command that must succeed.
func (g *RedisGroup) do(client *redis.Client, args ...any) {
	g.t.Helper()
	if err := client.Do(g.t.Context(), args...).Err(); err != nil {
		g.t.Fatalf("%v: %v", args, err)
	}
}

func newRedisGroup(t testing.TB) (*RedisGroup, string) {
	t.Helper()
	program, err := findRedis()
	if err != nil {
		t.Fatalf("this test needs several servers, and so the program itself: install redis-server (%v)", err)
	}
	return &RedisGroup{t: t, servers: map[string]*RedisServer{}}, program
}

// RedisSentinel starts a master, a replica, and three Sentinels that watch them.
func RedisSentinel(t testing.TB) *RedisGroup {
	t.Helper()
	const name = "tocsin"
	g, program := newRedisGroup(t)
	master, _ := g.add(program)
	host, port, _ := net.SplitHostPort(master)
	_, replica := g.add(program, "--replicaof", host+" "+port)
	g.wait("the replica", info(replica, "replication"), "master_link_status:up")
	var sentinels []string
	for range 3 {
		s, own, err := startOnPort("sentinel", func(s *server) (int, error) {
			own, err := freeport.Take()
			if err != nil {
				return 0, err
			}
			file := filepath.Join(s.dir, "sentinel.conf") // which it writes to
			s.argv = []string{program, file, "--sentinel"}
			return own, os.WriteFile(file, fmt.Appendf(nil, sentinelConf, own, s.dir, name, host, port), 0o600)
		})
		if err != nil {
			t.Fatalf("start a Sentinel: %v", err)
		}
		ownRedis(t, s, "")
		sentinels = append(sentinels, localAddress(own))
	}
	for _, address := range sentinels {
		g.wait("the Sentinels", info(g.client(address), "sentinel"), "status=ok", "slaves=1", "sentinels=3")
	}
	g.url = "redis-sentinel://" + strings.Join(sentinels, ",") + "/0?master=" + name
	first := redis.NewSentinelClient(&redis.Options{Addr: sentinels[0]})
	t.Cleanup(func() { _ = first.Close() })
	g.master = func(ctx context.Context, _ string) (string, error) {
		address, err := first.GetMasterAddrByName(ctx, name).Result()
		if err != nil || len(address) != 2 {
			return "", errors.Join(err, fmt.Errorf("the address is %q", address))
		}
		return net.JoinHostPort(address[0], address[1]), nil
	}
	return g
}

// sentinelConf takes the Sentinel's port and folder, the name of the master, and its host and port.
const sentinelConf = `bind 127.0.0.1
port %d
dir %s
sentinel monitor %[3]s %s %s 2
sentinel down-after-milliseconds %[3]s 1000
sentinel failover-timeout %[3]s 5000
`

// info returns a function that asks a server for a section of INFO.
func info(client *redis.Client, section string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) { return client.Info(ctx, section).Result() }
}

// RedisCluster starts a cluster of three masters with a replica each.
func RedisCluster(t testing.TB) *RedisGroup {
	t.Helper()
	const masters, slots = 3, 16384
	g, program := newRedisGroup(t)
	var addresses []string
	var clients []*redis.Client
	for range 2 * masters {
		address, client := g.add(program,
			"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--repl-ping-replica-period", "1")
		addresses, clients = append(addresses, address), append(clients, client)
	}
	for i, client := range clients {
		g.do(client, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		if i < masters {
			g.do(client, "CLUSTER", "ADDSLOTSRANGE", i*slots/masters, (i+1)*slots/masters-1)
		}
		host, port, _ := net.SplitHostPort(addresses[i])
		bus, err := client.ConfigGet(t.Context(), "cluster-port").Result()
		if err != nil {
			t.Fatalf("ask for the port of the cluster: %v", err)
		}
		g.do(clients[0], "CLUSTER", "MEET", host, port, bus["cluster-port"])
	}
	for i, client := range clients {
		g.wait("the cluster", func(ctx context.Context) (string, error) { return client.ClusterInfo(ctx).Result() },
			"cluster_state:ok", fmt.Sprintf("cluster_known_nodes:%d", len(clients)))
		if i >= masters {
			id, err := clients[i-masters].ClusterMyID(t.Context()).Result()
			if err != nil {
				t.Fatalf("ask a server for its name: %v", err)
			}
			g.do(client, "CLUSTER", "REPLICATE", id)
		}
	}
	for i, client := range clients {
		if i >= masters {
			g.wait("a replica", info(client, "replication"), "role:slave", "master_link_status:up")
		}
	}
	g.url = "redis-cluster://" + strings.Join(addresses, ",")
	g.master = func(ctx context.Context, key string) (string, error) {
		all := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses}) // which knows nothing yet, and so nothing old
		defer func() { _ = all.Close() }()
		master, err := all.MasterForKey(ctx, key)
		if err != nil {
			return "", err
		}
		return master.Options().Addr, nil
	}
	return g
}
