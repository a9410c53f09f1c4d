// Command tocsin is the notification service: web tier, worker and scheduler, and the commands to operate it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/config"
)

// Exit codes.
const (
	exitFault         = 1 // something failed
	exitConfiguration = 2 // the configuration or the command line is wrong
)

// commands are the commands of the program; kong reads the help from the tags.
type commands struct {
	Serve     serveCommand     `cmd:"" help:"Web, worker and scheduler in one process. Uses SQLite and an in-process Redis where no others are given."`
	Demo      demoCommand      `cmd:"" help:"Serve on a throw-away folder, with sample events and a local receiver that shows what email, Teams and Slack got."`
	Web       webCommand       `cmd:"" help:"The HTTP interface and the pages alone. Needs DATABASE_URL, REDIS_URL and TOCSIN_SECRET_KEY."`
	Worker    workerCommand    `cmd:"" help:"Evaluation and delivery alone. Needs DATABASE_URL, REDIS_URL and TOCSIN_SECRET_KEY."`
	Scheduler schedulerCommand `cmd:"" help:"Periodic tasks alone. Needs DATABASE_URL, REDIS_URL and TOCSIN_SECRET_KEY."`
	Migrate   migrateCommand   `cmd:"" help:"The database schema: up, down, status."`
	User      userCommand      `cmd:"" help:"Users: add, list, passwd."`
	Token     tokenCommand     `cmd:"" help:"API tokens: create, list, revoke."`
	Check     checkCommand     `cmd:"" help:"Check configuration, database, Redis, mail and webhooks, and report each in words."`
	Version   versionCommand   `cmd:"" help:"Print the version."`
}

// terminal is what commands read from and write to.
type terminal struct {
	in       io.Reader // nil: nothing
	out, err io.Writer
	environ  []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	go func() { // a second signal ends the process at once
		<-ctx.Done()
		stop()
	}()
	os.Exit(run(ctx, os.Args[1:], &terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ()}))
}

// run runs one command and returns the exit code.
func run(ctx context.Context, args []string, t *terminal) int {
	var exited *int
	parser, err := kong.New(&commands{}, kong.Name("tocsin"), kong.Description("The notification service of a vulnerability-management application."),
		kong.UsageOnError(), kong.Writers(t.out, t.err), kong.Exit(func(code int) { exited = &code }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(t))
	if err != nil {
		fmt.Fprintln(t.err, "tocsin:", err)
		return exitFault
	}
	command, err := parser.Parse(args)
	if exited != nil { // --help
		return *exited
	}
	if err != nil {
		fmt.Fprintf(t.err, "tocsin: %v. Run \"tocsin --help\" for the commands.\n", err)
		return exitConfiguration
	}
	err = command.Run()
	var faults config.Errors
	switch {
	case err == nil:
		return 0
	case errors.As(err, &faults):
		fmt.Fprintln(t.err, faults)
		return exitConfiguration
	case errors.Is(err, errReported):
		return exitFault
	}
	fmt.Fprintln(t.err, "tocsin:", err)
	return exitFault
}

// errReported ends a command that has already printed its faults.
var errReported = errors.New("the faults are printed")

// newLogger returns the logger that the configuration asks for.
func newLogger(c *config.Config, w io.Writer) zerolog.Logger {
	if c.LogFormat == config.Console {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05"}
	}
	log := zerolog.New(w).Level(c.LogLevel).With().Timestamp().Logger()
	redis.SetLogger(redisLog{log.With().Str("component", "redis").Logger()})
	return log
}

// redisLog writes the log lines of go-redis at debug level; the callers report the errors that matter.
type redisLog struct{ log zerolog.Logger }

// Printf implements go-redis' logger.
func (l redisLog) Printf(_ context.Context, format string, args ...any) {
	l.log.Debug().Msgf(format, args...)
}
