package main

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"chatsecure"
)

// clientMain is the client program: it runs the command line args, which do not
// hold the program's name, and returns the exit status.
func clientMain(args []string, version string) int {
	// A reader that has had enough is an error of Write, not the end: the
	// client still leaves in order.
	signal.Ignore(syscall.SIGPIPE)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	return run(args, system{
		version: version, roots: chatsecure.CABundle,
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		env: os.Getenv, now: time.Now, signals: signals,
		openTTY: func() (*os.File, error) { return os.OpenFile("/dev/tty", os.O_RDWR, 0) },
	})
}

// garbagePercent is how much garbage may gather, in per cent of what is alive.
// A client holds a few MiB: Go's own 100 would have it collect many times a
// second while lines or a pipe stream, and for no memory that matters.
const garbagePercent = 300
