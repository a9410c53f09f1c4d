package channel_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/seed91453169/tocsin/channel"
)

func TestCategory(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  *channel.Error
		want channel.Category
	}{
		{nil, "none"},
		{channel.StatusError("it", 408), "timeout"},
		{channel.StatusError("it", 429), "rate_limited"},
		{channel.StatusError("it", 404), "refused"},
		{channel.StatusError("it", 302), "refused"},
		{channel.StatusError("it", 500), "server_error"},
		{channel.NetworkError("it", context.DeadlineExceeded), "timeout"},
		{channel.NetworkError("it", &net.DNSError{}), "network"},
		{channel.NetworkError("it", fmt.Errorf("dial: %w", channel.ErrNotPublic)), "configuration"},
		{&channel.Error{Kind: channel.Configuration, Status: "535"}, "configuration"},
		{&channel.Error{Kind: channel.Permanent, Err: channel.ErrNotConfigured}, "configuration"},
		{&channel.Error{Kind: channel.Gone, Status: "410"}, "gone"},
	} {
		if got := c.err.Category(); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.err, got, c.want)
		}
	}
}
