package command

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// checked is the value of an option that is checked when it is set, wherever it was given.
type checked[T any] struct {
	to    *T
	parse func(string) (T, error)
}

func (c checked[T]) Set(s string) error {
	value, err := c.parse(s)
	if err == nil {
		*c.to = value
	}
	return err
}

func (c checked[T]) String() string {
	if c.to == nil {
		return ""
	}
	return fmt.Sprint(*c.to)
}

// Path is the value of an option that names a file, or a card by its URI, in both programs.
type Path string

// Set takes ~ for the home directory, as ssh_config does: not every place is read by a shell.
func (p *Path) Set(s string) error {
	if below, ok := strings.CutPrefix(s, "~"); ok {
		home := os.Getenv("HOME")
		if below != "" && below[0] != '/' || !filepath.IsAbs(home) {
			return errors.New("~ is your own home directory and nothing else; " +
				"write the whole path, or ./~ for a file called so")
		}
		s = filepath.Join(home, below)
	}
	*p = Path(s)
	return nil
}

func (p *Path) String() string { return string(*p) }

// relayAddr is the value of an option that names a relay. It matters only to commands that go
// online, which check it, and in the file config.
type relayAddr string

func (r *relayAddr) Set(s string) error { *r = relayAddr(s); return nil }

func (r *relayAddr) String() string { return string(*r) }

// suites are names of cipher suites, best first.
type suites []string

func (s suites) String() string { return strings.Join(s, ",") }

func parseSuites(list string) (suites, error) {
	if list == "" {
		return nil, nil
	}
	names := strings.Split(list, ",")
	for _, name := range names {
		if crypto.SuiteByName(name) == nil {
			return nil, fmt.Errorf("unknown cipher suite %q: there are %s", name,
				suites(crypto.SuiteNames()))
		}
	}
	return names, nil
}

// oneOf takes one of some words.
func oneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			last := len(words) - 1
			return "", fmt.Errorf("choose %s or %s", strings.Join(words[:last], ", "), words[last])
		}
		return s, nil
	}
}

// forEver is a bound for a duration without one.
const forEver = time.Duration(math.MaxInt64)

// duration takes a duration from least to most.
func duration(least, most time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			return 0, errors.New("write it with a unit, as 5s, 10m or 24h")
		case d < 0:
			return 0, errors.New("a duration cannot be negative")
		case d < least:
			return 0, errors.New("it must be more than nothing")
		case d > most:
			return 0, fmt.Errorf("it is at most %v", most)
		}
		return d, nil
	}
}

// nameOrNone takes a name, or nothing.
func nameOrNone(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return oneName(s)
}

func oneName(s string) (string, error) { return s, proto.CheckName(s) }

func positive(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, errors.New("it is a whole number from 1")
	}
	return n, nil
}

// wholeNumber takes a number from 0.
func wholeNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, errors.New("it is a whole number from 0")
	}
	return n, nil
}

// pastTime reads a time in one of the forms that people write, or the time since which a duration
// has passed. A time without a date is today's, and one without a zone is local.
func pastTime(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := wholeNumber(days); err == nil && n <= 36525 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	for _, form := range [...]string{time.DateOnly, "2006-01-02 15:04", time.DateTime, "2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339} {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			return t, nil
		}
	}
	for _, form := range [...]string{"15:04", time.TimeOnly} {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			y, m, d := now.Local().Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, time.Local), nil
		}
	}
	return time.Time{}, errors.New(`write a day as 2026-11-30, a time as "2026-11-30 18:00" or 18:00, or how long ago, as 90m or 2d`)
}

// fingerprintOrNone takes a fingerprint, or nothing.
func fingerprintOrNone(s string) (string, error) {
	if s != "" && !proto.IsHex(state.NormalFingerprint(s), 32) {
		return "", errors.New("it has 64 hex digits, with or without colons")
	}
	return s, nil
}
