package main

import "syscall"

// The requests that read and set a terminal's modes, the latter once what was
// typed before has been thrown away: it was not meant for the question.
const (
	getModes = syscall.TIOCGETA
	setModes = syscall.TIOCSETAF
)
