package dbmodel_test

import (
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// everything is a viewer that sees all.
var everything = dbmodel.Viewer{Admin: true}

func TestMain(m *testing.M) { testenv.Main(m) }
