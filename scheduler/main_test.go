package scheduler

import (
	"testing"

	"github.com/seed91453169/tocsin/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
