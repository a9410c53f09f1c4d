package web_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/seed91453169/tocsin/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, goleak.IgnoreTopFunction("github.com/alicebob/miniredis/v2/server.(*Server).servePeer"))
}
