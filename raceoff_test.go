//go:build !race

package chatsecure

const raceEnabled = false
