package embedded_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/internal/embedded"
)

// TestRedis: the server does what Tocsin asks of one, also much at once, and ends.
func TestRedis(t *testing.T) {
	t.Parallel()
	r := embedded.Start()
	client := redis.NewUniversalClient(r.Options())
	defer client.Close()
	ctx := t.Context()
	const many = 20_000
	set := make([]*redis.BoolCmd, many)
	_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range many {
			set[i] = p.SetNX(ctx, fmt.Sprint("key:", i), strings.Repeat("x", 100), time.Minute)
		}
		return nil
	})
	if err != nil || !set[many-1].Val() {
		t.Fatalf("many commands at once: %v", err)
	}
	big := strings.Repeat("x", 8<<20)
	if err := client.Set(ctx, "big", big, 300*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := client.Get(ctx, "big").Result(); err != nil || got != big {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	said := client.Subscribe(ctx, "channel")
	defer said.Close()
	if _, err := said.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	if err := client.Publish(ctx, "channel", "hello").Err(); err != nil {
		t.Fatal(err)
	}
	if m, err := said.ReceiveMessage(ctx); err != nil || m.Payload != "hello" {
		t.Errorf("%v, %v", m, err)
	}
	<-time.After(time.Second)
	if err := client.Get(ctx, "big").Err(); err != redis.Nil { //nolint:errorlint // as documented
		t.Errorf("after its time: %v", err)
	}
	r.Close()
	if err := client.Ping(ctx).Err(); err == nil {
		t.Error("it answers after its end")
	}
}
