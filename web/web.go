// Package web is Tocsin over HTTP: the API below /api/v1 with its OpenAPI document, the pages, which call the
// functions of the API, and the health of the process. It evaluates nothing, and sends nothing but test messages: it
// stores what it accepts through accept.Acceptor, and a worker evaluates it. routes.go lists every method and path.
package web

import (
	"cmp"
	"crypto/sha256"
	stdlog "log"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/semaphore"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/metrics"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/login"
)

// Config is what the handler needs.
type Config struct {
	DB                     *dbmodel.DB // for what people read and change: its pool is theirs alone, of PeopleConnections
	Intake                 *dbmodel.DB // the same database, for what is reported, and to know callers; nil: DB
	Vault                  *dbmodel.Vault
	Acceptor               *accept.Acceptor
	Queue                  *queue.Queue
	Redis                  redis.UniversalClient           // that of Queue
	Senders                map[rule.Channel]channel.Sender // for tests that somebody asks for; email may be missing
	Stopping               <-chan struct{}                 // closed when the process shuts down: streams end then
	MonitorWrite           bool                            // /monitor/ may delete and run tasks, too
	AdminToken             string                          // TOCSIN_ADMIN_TOKEN; empty: there is none
	WebhookAllowedNetworks []netip.Prefix                  // beside public addresses
	TrustedProxies         []netip.Prefix                  // whose X-Forwarded-For is believed
	BaseURL                string                          // of this Tocsin, for the OpenAPI document; may be empty
	// SetupToken is a secret of at least 128 bits that makes the first administrator, at SetupURL, while there is no user;
	// empty: none does.
	SetupToken string
	SecObserve *SecObserve // that Tocsin follows; nil: none
	OIDC       *login.OIDC // nil: people log in with passwords only
	Version    string
	// Registry has the metrics of the process, which /metrics shows; nil: those of the handler alone.
	Registry *prometheus.Registry
	// Tracer makes the spans of requests; nil: nothing is traced.
	Tracer trace.Tracer
	Log    zerolog.Logger
}

type server struct {
	db        *dbmodel.DB
	intake    *dbmodel.DB
	searches  *bounds
	streams   *bounds
	searching chan struct{} // holds one for each search that runs
	// large is the room for bodies of more than maxJSON that are held at the same time, in bytes; smaller ones need none.
	large     *semaphore.Weighted
	vault     *dbmodel.Vault
	acceptor  *accept.Acceptor
	queue     *queue.Queue
	senders   map[rule.Channel]channel.Sender
	baseURL   string
	basePath  string // of baseURL, without a slash at its end: a proxy may take it away
	templates templates
	sessions  *scs.SessionManager
	// crossOrigin refuses what a page of another site has a browser do here.
	crossOrigin *http.CrossOriginProtection
	oidc        *login.Provider // nil: there is none
	guesses     *login.Guesses
	hashing     chan struct{} // holds one for each password that is checked at the moment
	setupToken  string
	settingUp   sync.Mutex
	wasSetUp    atomic.Bool // setupToken was used
	unread      *unreadWatch
	stopping    <-chan struct{}
	needsRedis  bool // without Redis the process is not ready
	secObserve  *SecObserve
	adminToken  []byte // SHA-256; nil: there is none
	networks    []netip.Prefix
	tracer      trace.Tracer // nil: nothing is traced
	log         zerolog.Logger
	registry    *prometheus.Registry
	requests    *prometheus.HistogramVec
	api         huma.API
}

const (
	healthPattern = "GET /healthz"
	readyPattern  = "GET /readyz"
	staticPattern = "GET /static/{name}"
)

// New returns the handler of a web process. It wants the server settings of NewServer.
func New(cfg Config) http.Handler {
	s := &server{
		db: cfg.DB, vault: cfg.Vault, acceptor: cfg.Acceptor, queue: cfg.Queue, networks: cfg.WebhookAllowedNetworks,
		log: cfg.Log, tracer: cfg.Tracer,
		senders: cfg.Senders, baseURL: strings.TrimSuffix(cfg.BaseURL, "/"), unread: newUnreadWatch(cfg.DB, cfg.Log),
		stopping:   cfg.Stopping,
		secObserve: cfg.SecObserve, registry: cfg.Registry,
	}
	if s.registry == nil {
		s.registry = metrics.NewRegistry()
	}
	s.intake = cmp.Or(cfg.Intake, cfg.DB)
	s.searches, s.streams = newBounds(userSearches), newBounds(userStreams)
	s.searching = make(chan struct{}, allSearches)
	s.large = semaphore.NewWeighted(maxLarge)
	s.requests = newRequestMetrics(s.registry)
	s.registry.MustRegister(&workCollector{db: s.intake, queue: cfg.Queue})
	if cfg.AdminToken != "" {
		hash := sha256.Sum256([]byte(cfg.AdminToken))
		s.adminToken = hash[:]
	}
	s.guesses, s.hashing, s.setupToken = login.NewGuesses(), make(chan struct{}, 2*runtime.GOMAXPROCS(0)), cfg.SetupToken
	if cfg.OIDC != nil {
		s.oidc = login.NewProvider(*cfg.OIDC, s.baseURL+oidcCallbackPath)
	}
	if u, err := url.Parse(s.baseURL); err == nil {
		s.basePath = u.Path
	}
	s.templates, s.sessions, s.crossOrigin = newTemplates(s.basePath), newSessions(s), newCrossOrigin(s.baseURL)
	calls := http.NewServeMux()
	s.api = newAPI(calls, cfg)
	s.calls()
	calls.HandleFunc("/", unknownCall(calls))
	return s.behindProxies(s.begin(s.pages(calls, cfg.Redis, cfg.MonitorWrite)), cfg.TrustedProxies)
}

// NewServer returns an HTTP server with the settings that New's handler wants. It has no ReadTimeout: an import takes
// as long as it takes, and the handler itself ends the waiting for a body that stands still. It also gives each part
// of an answer a time of its own in place of WriteTimeout, which is for what the server answers by itself.
func NewServer(handler http.Handler, log zerolog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      answerPause,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          stdlog.New(log.With().Str("component", "http").Logger(), "", 0),
	}
}
