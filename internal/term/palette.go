package term

// Style sets a text off from others.
type Style string

// The styles (ECMA-48, SGR): for details, names and errors, and the end of them.
const (
	none   Style = ""
	Faint  Style = "2"
	Strong Style = "1"
	Alarm  Style = "31"
)

// palette is whether there are styles. Without them a text says the same.
type palette bool

// colours reports whether a terminal gets styles: not with NO_COLOR
// (no-color.org), and not if it is dumb.
func colours(env func(string) string) palette {
	return palette(env("NO_COLOR") == "" && !IsDumb(env))
}

// IsDumb reports whether a terminal knows no control sequences, or is unknown.
func IsDumb(env func(string) string) bool {
	term := env("TERM")
	return term == "" || term == "dumb"
}

func (p palette) start(s Style) string {
	if !p {
		return ""
	}
	return "\x1b[" + string(s) + "m"
}

// in returns a text in a style.
func (p palette) in(s Style, text string) string { return p.start(s) + text + p.start(none) }
