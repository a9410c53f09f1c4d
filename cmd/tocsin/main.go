// Command tocsin is the notification service: web, worker and scheduler, and the commands that operate it.
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

// commands are the commands of the program. kong prints the text that their Help methods return below the usage, and
// reads the other texts from the tags.
type commands struct {
	Serve      serveCommand      `cmd:"" help:"Run web, worker and scheduler in one process."`
	Demo       demoCommand       `cmd:"" help:"Run serve with sample events, on a folder that is deleted at the end."`
	Web        webCommand        `cmd:"" help:"Run the HTTP interface and the pages alone."`
	Worker     workerCommand     `cmd:"" help:"Run evaluation and delivery alone."`
	Scheduler  schedulerCommand  `cmd:"" help:"Run the periodic tasks alone."`
	Migrate    migrateCommand    `cmd:"" help:"Change the database schema: up, down, status."`
	User       userCommand       `cmd:"" help:"Manage users: add, list, passwd."`
	Token      tokenCommand      `cmd:"" help:"Manage API tokens: create, list, revoke."`
	SecObserve secObserveCommand `cmd:"" name:"secobserve" help:"Follow a running SecObserve: check, sync."`
	Check      checkCommand      `cmd:"" help:"Check configuration, database, Redis, mail and webhooks."`
	Health     healthCommand     `cmd:"" help:"Ask the process of this environment whether it is ready."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
	HelpOf     helpCommand       `cmd:"" name:"help" help:"Show the help of a command."`
	Completion completionCommand `cmd:"" help:"Print the completion for a shell: bash, zsh, fish."`
	Man        manCommand        `cmd:"" help:"Print the manual page."`
	Complete   completeCommand   `cmd:"" hidden:"" help:"Complete a command line."`
}

// terminal holds the standard streams and the environment of a command.
type terminal struct {
	in       io.Reader // nil: empty
	out, err io.Writer
	environ  []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	go func() { // restores the default, so that a second signal ends the process at once
		<-ctx.Done()
		stop()
	}()
	os.Exit(run(ctx, os.Args[1:], &terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ()}))
}

// run runs one command and returns the exit code.
func run(ctx context.Context, args []string, t *terminal) int {
	var exited *int
	parser, err := kong.New(&commands{}, kong.Name("tocsin"),
		kong.Description("The notification service of a vulnerability-management application."),
		kong.UsageOnError(), kong.Writers(t.out, t.err), kong.Exit(func(code int) { exited = &code }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(t))
	if err != nil {
		fmt.Fprintln(t.err, "tocsin:", err)
		return exitFault
	}
	command, err := parser.Parse(helpArguments(args))
	if exited != nil { // --help
		return *exited
	}
	if err != nil {
		fmt.Fprintf(t.err, "tocsin: %v. Run \"tocsin --help\" for the commands.\n", err)
		return exitConfiguration
	}
	err = command.Run(parser.Model)
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

// errReported is the error of a command that has already printed its faults.
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

// redisLog writes the log lines of go-redis at debug level; callers report the errors that matter.
type redisLog struct{ log zerolog.Logger }

// Printf implements go-redis' logger.
func (l redisLog) Printf(_ context.Context, format string, args ...any) {
	l.log.Debug().Msgf(format, args...)
}
