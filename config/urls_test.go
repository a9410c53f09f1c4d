package config

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

func TestParseDatabaseURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Database{
		"postgres://u:p@h/db":                          {Postgres, "postgres://u:p@h/db"},
		"postgresql://h1:5432,h2:5433/db":              {Postgres, "postgresql://h1:5432,h2:5433/db"},
		"postgres:///db?host=/run/pg&port=5433":        {Postgres, "postgres:///db?host=/run/pg&port=5433"},
		"postgres://u:p%2F@[::1]:1/db?sslmode=disable": {Postgres, "postgres://u:p%2F@[::1]:1/db?sslmode=disable"},
		"sqlite:///var/lib/t.db":                       {SQLite, "sqlite:///var/lib/t.db"},
		"sqlite:///a%20b/../t.db":                      {SQLite, "sqlite:///t.db"},
		"sqlite://t.db":                                {},
		"sqlite://":                                    {},
		"sqlite:///":                                   {},
		"sqlite:///t.db?mode=ro":                       {},
		"sqlite:t.db":                                  {},
		":memory:":                                     {},
		"postgres://h:port/db":                         {},
		"postgres://u:7/p@h/db":                        {},
		"postgres://u:p@q@h/db":                        {},
		"postgres://h/db?sslmode=maybe":                {},
		"host=h dbname=db":                             {},
	} {
		got, err := parseDatabaseURL(in)
		if got != want || (err == nil) != (want != Database{}) {
			t.Errorf("%s: %s %s, %v", in, got.Driver, got.DSN.Reveal(), err)
		}
	}
}

func TestParseRedisURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"redis://h":                     "*redis.Client h:6379 db 0",
		"redis://u:p@h:1/2?pool_size=7": "*redis.Client h:1 db 2 user u:p pool 7",
		"redis://:p%40@[::1]:1":         "*redis.Client [::1]:1 db 0 user :p@",
		"redis://:p@q@h":                "*redis.Client h:6379 db 0 user :p@q",
		"rediss://h":                    "*redis.Client h:6379 db 0 tls h",
		"rediss://h?skip_verify=true":   "*redis.Client h:6379 db 0 tls h unverified",
		"redis-sentinel://a?master=m":   "*redis.Client sentinels a:26379 of m db 0",
		"redis-sentinel://u:p@a:1,b/3?master=m&sentinel_password=s": "*redis.Client sentinels a:1,b:26379 (:s) of m db 3 user u:p",
		"redis-sentinel://[::1]:1,b?master=m&tls=true":              "*redis.Client sentinels [::1]:1,b:26379 of m db 0 tls ",
		"redis-cluster://a":            "*redis.ClusterClient a:6379 db 0",
		"redis-cluster://u:p@a:1,b/0":  "*redis.ClusterClient a:1,b:6379 db 0 user u:p",
		"redis-cluster://a,b?tls=true": "*redis.ClusterClient a:6379,b:6379 db 0 tls ",

		"redis://":                          "",
		"redis://h1,h2":                     "",
		"redis://h:x":                       "",
		"redis://h:99999":                   "",
		"redis://h/x":                       "",
		"redis://h/-1":                      "",
		"redis://h/1/2":                     "",
		"redis://h?db=-1":                   "",
		"redis://h?nonsense=1":              "",
		"redis://h?dial_timeout=0":          "",
		"redis://h?read_timeout=-1s":        "",
		"redis-cluster://a?write_timeout=0": "",
		"redis://:a/b@h":                    "",
		"redis://:a#b@h":                    "",
		"redis-sentinel://a":                "",
		"redis-sentinel://?master=m":        "",
		"redis-sentinel://a,?master=m":      "",
		"redis-cluster://a/1":               "",
		"redis-cluster://a?db=1":            "",
		"redis-cluster://a?master=m":        "",
		"redis-cluster://a?tls=1":           "",
		"unix:///run/redis.sock":            "",
		"h:6379":                            "",
	} {
		o, err := parseRedisURL(in)
		got := ""
		if err == nil {
			got = describe(t, o)
		}
		if got != want {
			t.Errorf("%s:\n got %q, %v\nwant %q", in, got, err, want)
		}
	}
}

// describe says what client the options make, and with what.
func describe(t *testing.T, o *redis.UniversalOptions) string {
	t.Helper()
	client := redis.NewUniversalClient(o)
	defer client.Close()
	var b strings.Builder
	fmt.Fprintf(&b, "%T ", client)
	if o.MasterName != "" {
		b.WriteString("sentinels ")
	}
	b.WriteString(strings.Join(o.Addrs, ","))
	if o.SentinelUsername+o.SentinelPassword != "" {
		fmt.Fprintf(&b, " (%s:%s)", o.SentinelUsername, o.SentinelPassword)
	}
	if o.MasterName != "" {
		b.WriteString(" of " + o.MasterName)
	}
	fmt.Fprintf(&b, " db %d", o.DB)
	if o.Username+o.Password != "" {
		fmt.Fprintf(&b, " user %s:%s", o.Username, o.Password)
	}
	if o.PoolSize != 0 {
		fmt.Fprintf(&b, " pool %d", o.PoolSize)
	}
	if o.TLSConfig != nil {
		b.WriteString(" tls " + o.TLSConfig.ServerName)
		if o.TLSConfig.InsecureSkipVerify {
			b.WriteString(" unverified")
		}
	}
	return b.String()
}

func TestParseSMTPURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]*SMTP{
		"smtp://localhost:1025":         {Host: "localhost", Port: 1025, TLS: TLSOffered},
		"smtp://u:p@127.0.0.1":          {Host: "127.0.0.1", Port: 587, User: "u", Password: "p", TLS: TLSOffered},
		"smtp://[::1]?tls=starttls":     {Host: "::1", Port: 587, TLS: TLSStartTLS},
		"smtp://localhost.example.com":  {Host: "localhost.example.com", Port: 587, TLS: TLSStartTLS},
		"smtp://h":                      {Host: "h", Port: 587, TLS: TLSStartTLS},
		"smtps://u%40x:p%2F@h/":         {Host: "h", Port: 465, User: "u@x", Password: "p/", TLS: TLSImplicit},
		"smtp://[::1]:25?tls=none":      {Host: "::1", Port: 25, TLS: TLSNone},
		"smtp://h?tls=implicit":         {Host: "h", Port: 465, TLS: TLSImplicit},
		"smtp://h?tls=none":             {Host: "h", Port: 25, TLS: TLSNone},
		"smtps://u@h:2525?tls=starttls": {Host: "h", Port: 2525, User: "u", TLS: TLSStartTLS},
		"smtp://h?helo=mail.x.example":  {Host: "h", Port: 587, TLS: TLSStartTLS, Helo: "mail.x.example"},
		"smtp://h?tls=none&helo=[::1]":  {Host: "h", Port: 25, TLS: TLSNone, Helo: "[::1]"},
		"smtp://h?helo=":                nil,
		"smtp://h?helo=a%0D%0Ab":        nil,
		"smtp://h?helo=a&helo=b":        nil,
		"smtp://":                       nil,
		"smtp://:p@h":                   nil,
		"smtp://h:0":                    nil,
		"smtp://h:x":                    nil,
		"smtp://h:70000":                nil,
		"smtp://h/path":                 nil,
		"smtp://h?tls=":                 nil,
		"smtp://h?tls=none&tls=none":    nil,
		"smtp://h?starttls=1":           nil,
		"smtp://u:p#x@h":                nil,
		"http://h":                      nil,
		"h:25":                          nil,
	} {
		got, err := parseSMTPURL(in)
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (want != nil) {
			t.Errorf("%s: %v\n%s", in, err, diff)
		}
	}
}

// FuzzURLs checks that the parsers neither panic nor repeat a password, wherever it landed, and that what they take is
// usable.
func FuzzURLs(f *testing.F) {
	const hidden = "hunter2"
	for _, seed := range [][2]string{
		{"postgres://u:", "@h:5432/db?sslmode=disable"},
		{"postgres://h:5432/db?sslmode=", ""},
		{"sqlite:///", "/t.db"},
		{"redis://u:", "@h:6379/0?dial_timeout=3s"},
		{"redis://h?", "=1"},
		{"redis-sentinel://u:", "@a,b:26379/1?master=m&tls=true"},
		{"redis-sentinel://,", "?master="},
		{"redis-cluster://a:1,[::1]:", ""},
		{"smtp://u:", "@h:587?tls=none"},
		{"smtps://[::1", "]"},
		{"", "://"},
		{"redis://%zz", "@@@"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		s := before + hidden + after
		_, errDatabase := parseDatabaseURL(s)
		options, errRedis := parseRedisURL(s)
		smtp, errSMTP := parseSMTPURL(s)
		for _, err := range []error{errDatabase, errRedis, errSMTP} {
			if err != nil && (strings.Contains(err.Error(), hidden) || strings.ContainsAny(err.Error(), "\r\n")) {
				t.Errorf("%q: %q", s, err)
			}
		}
		if errRedis == nil {
			for _, addr := range options.Addrs {
				if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || !isPort(port) {
					t.Errorf("%q: address %q", s, addr)
				}
			}
		}
		if errSMTP == nil && (smtp.Host == "" || smtp.Port < 1 || smtp.TLS == "") {
			t.Errorf("%q: %+v", s, smtp)
		}
	})
}
