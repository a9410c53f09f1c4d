package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"
)

// The errors of the parsers below repeat no part of the URL, and no error of a library, which may repeat one: a
// password that is not percent-encoded can end up in the host, in the port, or anywhere.

const escaping = "(special characters in the password must be percent-encoded: / is %2F, @ is %40, # is %23, ? is %3F)"

func parseDatabaseURL(s string) (Database, error) {
	switch scheme, rest, _ := strings.Cut(s, "://"); scheme {
	case "postgres", "postgresql":
		// pgx takes the text after the first @ for the host, and the text after a / before that @ for the database. Its
		// errors name both: a URL whose password has one of these characters must not get as far as pgx.
		place, _, _ := strings.Cut(rest, "?")
		if user, host, found := strings.Cut(place, "@"); found &&
			(strings.Contains(user, "/") || strings.Contains(host, "@")) {
			return Database{}, fmt.Errorf("has a / or an @ in its password, or more than one @: write it like "+
				"postgres://user:password@host:5432/database %s", escaping)
		}
		// pgx will open the same text later; nothing is connected here.
		if _, err := pgconn.ParseConfig(s); err != nil {
			if _, ok := errors.AsType[*fs.PathError](err); ok {
				return Database{}, errors.New("names a certificate or key file that cannot be read: check sslrootcert, sslcert " +
					"and sslkey in it")
			}
			return Database{}, fmt.Errorf("is not a PostgreSQL address: write it like "+
				"postgres://user:password@host:5432/database %s", escaping)
		}
		return Database{Postgres, Secret(s)}, nil
	case "sqlite":
		file, err := url.PathUnescape(rest)
		if err != nil || !path.IsAbs(file) || strings.HasSuffix(file, "/") || strings.ContainsAny(file, "?#\x00") {
			return Database{}, errors.New("is not a SQLite address: write three slashes and the whole path of the file, with " +
				"nothing behind it, like sqlite:///var/lib/tocsin/tocsin.db")
		}
		return sqliteAt(path.Clean(file)), nil
	default:
		return Database{}, errors.New("begins with neither postgres:// nor sqlite:// : write it like " +
			"postgres://user:password@host:5432/database")
	}
}

func sqliteAt(file string) Database { return Database{SQLite, Secret("sqlite://" + file)} }

// parseRedisURL reads
//
//	redis://[user:password@]host[:6379][/db]         rediss:// with TLS
//	redis-sentinel://[user:password@]host[:26379],…[/db]?master=name
//	redis-cluster://[user:password@]host[:6379],…
//
// and with them the options that go-redis has for its URLs. The last two take tls=true. redis-sentinel takes
// sentinel_username and sentinel_password, for Sentinels that require a login.
func parseRedisURL(s string) (*redis.UniversalOptions, error) {
	scheme, rest, _ := strings.Cut(s, "://")
	kind, found := redisKinds[scheme]
	if !found {
		return nil, errors.New("begins with none of redis://, rediss://, redis-sentinel://, redis-cluster:// : write it " +
			"like redis://host:6379")
	}
	if strings.Contains(rest, "#") {
		return nil, fmt.Errorf("has a # in it: write it like %s %s", kind.example, escaping)
	}
	rest, rawQuery, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	user, hosts := "", authority
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		user, hosts = authority[:i+1], authority[i+1:]
	}

	addrs, err := parseHosts(hosts, kind.port)
	if err != nil || !kind.many && len(addrs) > 1 {
		return nil, fmt.Errorf("does not name its hosts as it should: write it like %s %s", kind.example, escaping)
	}
	database = strings.TrimSuffix(database, "/")
	if database != "" {
		if n, err := strconv.Atoi(database); err != nil || n < 0 || kind.cluster && n != 0 {
			return nil, fmt.Errorf("names a database that cannot be: what follows the host is a number from 0, and 0 in a "+
				"cluster; write it like %s %s", kind.example, escaping)
		}
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, fmt.Errorf("has options that cannot be read: write it like %s %s", kind.example, escaping)
	}
	options := redis.UniversalOptions{Addrs: addrs}
	base := scheme
	if kind.many {
		if base, err = takeManyOptions(query, kind, &options); err != nil {
			return nil, err
		}
	}
	// go-redis reads the rest from a URL with one host.
	o, err := redis.ParseURL(base + "://" + user + addrs[0] + "/" + database + "?" + query.Encode())
	if err != nil {
		return nil, fmt.Errorf("cannot be read: write it like %s, and no options that go-redis does not know %s",
			kind.example, escaping)
	}
	if kind.cluster && o.DB != 0 || o.DB < 0 {
		return nil, errors.New("names a database that cannot be: leave the option db out")
	}
	if min(o.DialTimeout, o.ReadTimeout, o.WriteTimeout) < 0 { // how go-redis reads 0, too
		return nil, errors.New("switches off a timeout, and a call would wait for a Redis that does not answer: write " +
			"dial_timeout, read_timeout and write_timeout like 5s")
	}
	copyRedisOptions(&options, o)
	if kind.many && options.TLSConfig != nil {
		options.TLSConfig.ServerName = "" // each host's own
	}
	return &options, nil
}

// takeManyOptions takes the options for several hosts, which go-redis does not know, out of a query. It returns the
// scheme of a URL with only one of the hosts.
func takeManyOptions(query url.Values, kind redisKind, options *redis.UniversalOptions) (scheme string, err error) {
	take := func(name string) string {
		v := query.Get(name)
		query.Del(name)
		return v
	}
	scheme = "redis"
	switch take("tls") {
	case "true":
		scheme = "rediss"
	case "", "false":
	default:
		return "", errors.New("has a tls that is neither true nor false: write ?tls=true, or leave it out")
	}
	if kind.cluster {
		options.IsClusterMode = true
		return scheme, nil
	}
	options.MasterName = take("master")
	options.SentinelUsername, options.SentinelPassword = take("sentinel_username"), take("sentinel_password")
	if options.MasterName == "" {
		return "", fmt.Errorf("does not say which master the Sentinels watch: write it like %s", kind.example)
	}
	return scheme, nil
}

// redisKind is what a scheme of REDIS_URL stands for.
type redisKind struct {
	port          string
	many, cluster bool
	example       string
}

var redisKinds = map[string]redisKind{
	"redis":          {port: "6379", example: "redis://user:password@host:6379/0"},  // #nosec G101 -- nobody's
	"rediss":         {port: "6379", example: "rediss://user:password@host:6379/0"}, // #nosec G101 -- nobody's
	"redis-sentinel": {port: "26379", many: true, example: "redis-sentinel://host1:26379,host2:26379/0?master=name"},
	"redis-cluster":  {port: "6379", many: true, cluster: true, example: "redis-cluster://host1:6379,host2:6379"},
}

// copyRedisOptions copies every option that a URL can set.
func copyRedisOptions(to *redis.UniversalOptions, o *redis.Options) {
	to.DB, to.Protocol, to.ClientName = o.DB, o.Protocol, o.ClientName
	to.Username, to.Password, to.TLSConfig = o.Username, o.Password, o.TLSConfig
	to.MaxRetries, to.MinRetryBackoff, to.MaxRetryBackoff = o.MaxRetries, o.MinRetryBackoff, o.MaxRetryBackoff
	to.DialTimeout, to.ReadTimeout, to.WriteTimeout = o.DialTimeout, o.ReadTimeout, o.WriteTimeout
	to.PoolFIFO, to.PoolSize, to.PoolTimeout = o.PoolFIFO, o.PoolSize, o.PoolTimeout
	to.MinIdleConns, to.MaxIdleConns, to.MaxActiveConns = o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns
	to.MaxConcurrentDials, to.PipelinePoolSize = o.MaxConcurrentDials, o.PipelinePoolSize
	to.PipelineReadBufferSize, to.PipelineWriteBufferSize = o.PipelineReadBufferSize, o.PipelineWriteBufferSize
	to.ConnMaxIdleTime, to.ConnMaxLifetime = o.ConnMaxIdleTime, o.ConnMaxLifetime
	to.ConnMaxLifetimeJitter = o.ConnMaxLifetimeJitter
}

var errHosts = errors.New("not a list of hosts")

// parseHosts reads host[:port] with commas between them.
func parseHosts(list, defaultPort string) ([]string, error) {
	var addrs []string
	for part := range strings.SplitSeq(list, ",") {
		// url.Parse decides what a host is.
		u, err := url.Parse("redis://" + part)
		if err != nil || u.Hostname() == "" || u.Host != part || strings.ContainsAny(u.Hostname(), "[] \t@") {
			return nil, errHosts
		}
		port := u.Port()
		if port == "" {
			port = defaultPort
		}
		if !isPort(port) {
			return nil, errHosts
		}
		addrs = append(addrs, net.JoinHostPort(u.Hostname(), port))
	}
	return addrs, nil
}

// SMTP is the mail server that mail is sent through.
type SMTP struct {
	Host     string
	Port     int
	User     string // empty: no login
	Password Secret
	TLS      SMTPTLS
	Helo     string // the name of this host in HELO; empty: the sender chooses one
}

// SMTPTLS says how the connection to a mail server is encrypted.
type SMTPTLS string

// Kinds of encryption.
const (
	TLSNone     SMTPTLS = "none"     // for a mail catcher on this machine
	TLSStartTLS SMTPTLS = "starttls" // required: a server without it is refused
	TLSOffered  SMTPTLS = "offered"  // STARTTLS where the server offers it: the default for a server on this machine
	TLSImplicit SMTPTLS = "implicit" // from the first byte
)

// heloName is a host name, or an address in brackets (https://www.rfc-editor.org/rfc/rfc5321#section-4.1.3).
var heloName = regexp.MustCompile(`^([A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*|\[(IPv6:)?[0-9A-Fa-f.:]+\])$`)

// parseSMTPURL reads smtp://[user:password@]host[:587] and smtps://[user:password@]host[:465], with ?tls= and one of
// none, starttls (the default of smtp; offered where the host is this machine) and implicit (the default of smtps),
// and with ?helo= and a host name. The default port is that of the encryption.
func parseSMTPURL(s string) (*SMTP, error) {
	const example = "smtp://user:password@host:587" // #nosec G101 -- nobody's
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: write it like %s %s", example, escaping)
	}
	smtp := &SMTP{Host: u.Hostname()}
	switch u.Scheme {
	case "smtp":
		smtp.TLS = TLSStartTLS
		if ip, err := netip.ParseAddr(smtp.Host); smtp.Host == "localhost" || err == nil && ip.IsLoopback() {
			smtp.TLS = TLSOffered
		}
	case "smtps":
		smtp.TLS = TLSImplicit
	default:
		return nil, fmt.Errorf("begins with neither smtp:// nor smtps:// : write it like %s", example)
	}
	if smtp.Host == "" || strings.ContainsAny(smtp.Host, "[] \t@,") || u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return nil, fmt.Errorf("is not scheme, user, host and port: write it like %s %s", example, escaping)
	}
	if port := u.Port(); port != "" {
		if smtp.Port, err = strconv.Atoi(port); err != nil || smtp.Port < 1 || smtp.Port > 65535 {
			return nil, fmt.Errorf("has a port that is not a number from 1 to 65535: write it like %s", example)
		}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		smtp.User, smtp.Password = u.User.Username(), Secret(password)
		if smtp.User == "" {
			return nil, fmt.Errorf("has a password, or an @, but no user: write it like %s %s", example, escaping)
		}
	}
	query, err := url.ParseQuery(u.RawQuery)
	tls, given := query["tls"]
	helo, heloGiven := query["helo"]
	delete(query, "tls")
	delete(query, "helo")
	if err != nil || len(query) > 0 || len(tls) > 1 || len(helo) > 1 {
		return nil, errors.New("has an option behind the ? that is not known: only tls=none, tls=starttls, tls=implicit " +
			"and helo=NAME are")
	}
	if heloGiven {
		if smtp.Helo = helo[0]; !heloName.MatchString(smtp.Helo) {
			return nil, errors.New("has a helo that is not a host name: write it like helo=mail.example.com")
		}
	}
	if given {
		switch smtp.TLS = SMTPTLS(tls[0]); smtp.TLS {
		case TLSNone, TLSStartTLS, TLSImplicit:
		default:
			return nil, errors.New("has a tls that is not known: write tls=none, tls=starttls or tls=implicit")
		}
	}
	if smtp.Port == 0 {
		smtp.Port = map[SMTPTLS]int{TLSNone: 25, TLSStartTLS: 587, TLSOffered: 587, TLSImplicit: 465}[smtp.TLS]
	}
	return smtp, nil
}
