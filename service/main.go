// Package service is what every process of Legendary Wallet has around its work: settings from the
// environment, the command line, health, the admin port, and the wait for migrations.
package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
)

// Program is one of the services: C is its configuration.
type Program[C any] struct {
	Name  string
	About string // for --help: what it does, in a sentence or two
	// Config reads the settings. It may not fail: env collects the mistakes.
	Config func(env *Env) C
	// Ballast is bytes that are never touched and take no memory, but the garbage collector counts them: it starts
	// when there is as much garbage as ballast, stacks and what is in use. With the latter alone, which is little, it
	// would run twenty times a second under load. Unlike a higher GOGC it lets memory grow by no more than itself.
	Ballast int
	// Run works until ctx ends. Its error is one that only a new process can mend.
	Run func(ctx context.Context, c C, log *slog.Logger) error
}

// Main runs the program as the process: SIGTERM and SIGINT end its context. It does not return.
func (p Program[C]) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if len(os.Args) > 1 {
		os.Exit(p.describe(os.Args[1:], os.Stdout, os.Stderr))
	}
	ballast := make([]byte, p.Ballast)
	code := p.Start(ctx, os.Environ(), os.Stderr)
	runtime.KeepAlive(ballast)
	os.Exit(code)
}

// Start returns the exit code: 0 when the program ended because ctx did, 1 for an error that only a new
// process can mend, 2 for wrong settings, all of which it names.
func (p Program[C]) Start(ctx context.Context, environ []string, stderr io.Writer) int {
	env := NewEnv(environ)
	level := logLevel(env)
	c := p.Config(env)
	if err := env.Err(); err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level}))
	if err := p.Run(ctx, c, log); err != nil && ctx.Err() == nil {
		log.Error(p.Name+" ends", "error", err)
		return 1
	}
	log.Info(p.Name + " ended")
	return 0
}

func logLevel(env *Env) (level slog.Level) {
	_ = level.UnmarshalText([]byte(env.OneOf("LOG_LEVEL", []string{"info", "debug", "warn", "error"}, "The least level that is logged.")))
	return level
}

// describe answers --version, --help and --settings.
func (p Program[C]) describe(args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 {
		env := NewEnv(nil)
		logLevel(env)
		p.Config(env)
		switch args[0] {
		case "--version":
			fmt.Fprintln(stdout, p.Name, Version())
			return 0
		case "--help", "-h":
			fmt.Fprintf(stdout, "%s\n\nusage: %s [--help | --version | --settings]\n  --settings prints the list below as JSON\n\n", p.About, p.Name)
			PrintSettings(stdout, env.Declared())
			return 0
		case "--settings":
			_ = WriteSettings(stdout, env.Declared())
			return 0
		}
	}
	fmt.Fprintf(stderr, "%s takes no arguments but --help, --version or --settings; its settings are environment variables\n", p.Name)
	return 2
}

// version is set when a release is built, by -ldflags -X.
var version string

// Version is the release, or the commit that Go notes when it builds in a clone.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				return setting.Value
			}
		}
	}
	return "unreleased"
}

// Sleep reports false if ctx ended meanwhile.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
