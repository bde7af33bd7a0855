// Package tty has terminals for tests: an emulator of one, a sheet of paper that
// takes its place, and on Linux a device that the test sits at.
package tty
