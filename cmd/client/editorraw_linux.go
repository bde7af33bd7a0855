package main

import "syscall"

// setModesLater sets a terminal's modes once all has been written to it. What
// has been typed is kept.
const setModesLater = syscall.TCSETS + 1 // TCSETSW
