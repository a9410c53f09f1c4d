// Package secobserve keeps Tocsin in step with a running SecObserve, which it reads through its REST API and never
// changes. It stores what it reads through the acceptance of events, as all other doors do; it evaluates nothing and
// sends no message.
package secobserve

import (
	"context"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)
