package term

import (
	"strings"
)

// The bounds of the lines kept for recall: more than a day's, in little memory.
const (
	maxRecall      = 1000
	maxRecallBytes = 1 << 20
)

// recall is the earlier lines, oldest first, with the place of the shown one.
// It stays in memory: the only copy of a message on disk is the history.
type recall struct {
	lines []Line
	bytes int
	at    int  // the shown line: lines[at], or the new line for len(lines)
	draft Line // the new line while an old one is shown

	sought  string // the text of a search, while seeking
	seeking bool
}

// add adds a line, unless it is blank or the last one again.
func (r *recall) add(line Line) {
	if last := len(r.lines) - 1; strings.TrimSpace(line.Text) == "" || last >= 0 && r.lines[last] == line {
		return
	}
	r.lines = append(r.lines, line)
	r.bytes += len(line.Text)
	for len(r.lines) > maxRecall || r.bytes > maxRecallBytes {
		r.bytes -= len(r.lines[0].Text)
		r.lines[0] = Line{}
		r.lines = r.lines[1:]
	}
}

// reset begins a new line.
func (r *recall) reset() { r.at, r.draft, r.seeking = len(r.lines), Line{}, false }

// back returns the line before the shown one, whose text is now.
func (r *recall) back(now Line) (line Line, ok bool) { return r.show(r.at-1, now) }

// forth returns the line after the shown one, whose text is now.
func (r *recall) forth(now Line) (line Line, ok bool) { return r.show(r.at+1, now) }

// search returns the next older line that contains the text of the line at the
// begin of the search.
func (r *recall) search(now Line) (line Line, ok bool) {
	if !r.seeking {
		r.sought, r.seeking = now.Text, true
	}
	for at := r.at - 1; at >= 0; at-- {
		if strings.Contains(r.lines[at].Text, r.sought) {
			return r.show(at, now)
		}
	}
	return Line{}, false
}

func (r *recall) show(at int, now Line) (Line, bool) {
	if at < 0 || at > len(r.lines) {
		return Line{}, false
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
