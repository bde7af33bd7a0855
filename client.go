package chatsecure

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"chatsecure/internal/command"
)

// ClientMain is the client program. It runs the command line args, without the
// name of the program, and returns the exit status.
func ClientMain(args []string, version string) int {
	// A closed pipe becomes an error of Write, and the client leaves in order.
	signal.Ignore(syscall.SIGPIPE)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	return command.Run(args, command.System{
		Version: version, Roots: caBundle,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Env: os.Getenv, Environ: os.Environ(), Now: time.Now, Signals: signals,
		OpenTTY: func() (*os.File, error) { return os.OpenFile("/dev/tty", os.O_RDWR, 0) },
	})
}

// garbagePercent bounds garbage, in per cent of the live memory. A client holds a
// few MiB. At Go's own 100 it would collect many times a second while lines or a
// pipe stream, and save no memory that matters.
const garbagePercent = 300
