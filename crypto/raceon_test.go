//go:build race

package crypto

// raceEnabled thins out the tests that flip every byte: they are one goroutine,
// where there is no race to find, and ten times as slow.
const raceEnabled = true
