package main

import "strings"

// The lines typed before that are kept: more than a day's, and little memory
// even if they are long.
const (
	maxRecall      = 1000
	maxRecallBytes = 1 << 20
)

// recall is the lines typed before, oldest first, and where among them the
// person is. They are kept in memory only: a message's one place on disk is
// the history.
type recall struct {
	lines []string
	bytes int
	at    int    // what is shown: lines[at], or the new line if at is len(lines)
	draft string // the new line, while an old one is shown

	sought  string // what search looks for, while searching
	seeking bool
}

// add keeps a line and makes the next one a new one.
func (r *recall) add(line string) {
	if strings.TrimSpace(line) != "" && len(line) <= maxRecallBytes && (len(r.lines) == 0 || r.lines[len(r.lines)-1] != line) {
		r.lines = append(r.lines, line)
		r.bytes += len(line)
		for len(r.lines) > maxRecall || r.bytes > maxRecallBytes {
			r.bytes -= len(r.lines[0])
			r.lines[0] = ""
			r.lines = r.lines[1:]
		}
	}
	r.reset()
}

// reset makes the line being typed a new one.
func (r *recall) reset() { r.at, r.draft, r.seeking = len(r.lines), "", false }

// back returns the line before the one shown, which is now.
func (r *recall) back(now string) (line string, ok bool) { return r.show(r.at-1, now) }

// forth returns the line after the one shown, which is now.
func (r *recall) forth(now string) (line string, ok bool) { return r.show(r.at+1, now) }

// search returns the next older line with what was typed when the search began.
func (r *recall) search(now string) (line string, ok bool) {
	if !r.seeking {
		r.sought, r.seeking = now, true
	}
	for at := r.at - 1; at >= 0; at-- {
		if strings.Contains(r.lines[at], r.sought) {
			return r.show(at, now)
		}
	}
	return "", false
}

func (r *recall) show(at int, now string) (string, bool) {
	if at < 0 || at > len(r.lines) {
		return "", false
	}
	if r.at == len(r.lines) {
		r.draft = now
	}
	r.at = at
	if at == len(r.lines) {
		return r.draft, true
	}
	return r.lines[at], true
}
