package main

// style is how a text is set off from others.
type style string

// The styles (ECMA-48, SGR): what matters less, a name, and what went wrong.
const (
	faint  style = "2"
	strong style = "1"
	alarm  style = "31"
)

// palette is whether there is any. Without colour a text says the same.
type palette bool

// colours tells whether a terminal gets colour: not with NO_COLOR
// (no-color.org), and not if it can do nothing.
func colours(env func(string) string) palette {
	return palette(env("NO_COLOR") == "" && !isDumb(env))
}

// isDumb tells whether a terminal knows no control sequences, or does not say
// what it is.
func isDumb(env func(string) string) bool {
	term := env("TERM")
	return term == "" || term == "dumb"
}

func (p palette) start(s style) string {
	if !p {
		return ""
	}
	return "\x1b[" + string(s) + "m"
}

func (p palette) end() string {
	if !p {
		return ""
	}
	return "\x1b[m"
}

// in returns a text in a style.
func (p palette) in(s style, text string) string { return p.start(s) + text + p.end() }
