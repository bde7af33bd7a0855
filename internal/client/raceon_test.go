//go:build race

package client

// raceEnabled shortens the search of the schedules, which is one goroutine, where
// there is no race to find, and ten times as slow.
const raceEnabled = true
