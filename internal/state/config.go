package state

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// Config is the file config of a state directory: options of the client, one a line, as in
// ssh_config. It holds no secret. Which options there are is not known here.
type Config struct {
	Path     string
	Settings []Setting
	lines    []string // the file, without the ends of lines
}

// Setting is a line of the file that is neither empty nor a comment.
type Setting struct {
	Line        int // from 1
	Name, Value string
}

// maxConfig bounds the file config in bytes.
const maxConfig = 64 << 10

// ReadConfig reads the file config of a state directory. Without a file there are no settings.
// A file that others could write is refused: it names the relay, whom to trust, and a module to
// load.
func ReadConfig(dir string) (*Config, error) {
	c := &Config{Path: filepath.Join(dir, configFile)}
	text, info, err := readRegular(c.Path, syscall.O_NOFOLLOW, maxConfig)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return c, nil
	}
	hint := "mend it, or name another state directory with -state"
	switch {
	case errors.Is(err, syscall.ELOOP):
		err = fmt.Errorf("%s is a symbolic link; put the file itself there", c.Path)
	case err != nil:
	case IsForeign(info):
		err = fmt.Errorf("%s belongs to another user", c.Path)
	case info.Mode().Perm()&0o022 != 0:
		err = fmt.Errorf("%s can be written by others, so it cannot be relied on", c.Path)
		hint = "look at it, then " + fail.Command("chmod 600 "+fail.ShellWord(c.Path))
	default:
		err = checkDir(filepath.Clean(dir))
	}
	if err != nil {
		return nil, fail.Errorf(proto.Usage, "%s", proto.Visible(err.Error())).With(hint)
	}
	return c, c.parse(string(text))
}

// parse takes the lines of the file. No option stands in two.
func (c *Config) parse(text string) error {
	c.lines = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	lineOf := make(map[string]int)
	for i, line := range c.lines {
		name, value := split(line)
		if name == "" {
			continue
		}
		if lineOf[name] > 0 {
			return c.Refuse(i+1, "keep one of the two lines", "%s stands in line %d already",
				proto.Visible(name), lineOf[name])
		}
		lineOf[name] = i + 1
		c.Settings = append(c.Settings, Setting{i + 1, name, value})
	}
	return nil
}

// split returns the option and the value of a line, "" for an empty line or a comment.
func split(line string) (name, value string) {
	line = strings.Trim(line, " \t\r")
	if strings.HasPrefix(line, "#") {
		return "", ""
	}
	name, _, _ = strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	return name, strings.TrimLeft(line[len(name):], " \t")
}

// Place names a line of the file for people.
func (c *Config) Place(line int) string {
	return fmt.Sprintf("%s, line %d", proto.Visible(c.Path), line)
}

// Refuse returns the error for a line of the file, with a hint.
func (c *Config) Refuse(line int, hint, format string, args ...any) error {
	return fail.Errorf(proto.Usage, "%s: %s", c.Place(line), fmt.Sprintf(format, args...)).With(hint)
}

// Change returns the text of the file with other values of some options. An empty value takes
// the option's line away, and every other line stays as it is.
func (c *Config) Change(settings []Setting) ([]byte, error) {
	lines := slices.Clone(c.lines)
	for _, s := range settings {
		at := slices.IndexFunc(lines, func(line string) bool {
			name, _ := split(line)
			return name == s.Name
		})
		line := s.Name + " " + s.Value
		if _, back := split(line); back != s.Value || strings.Contains(s.Value, "\n") {
			return nil, fail.Errorf(proto.Usage, "%s cannot be written into a line of %s: %s",
				s.Name, proto.Visible(c.Path), proto.Visible(s.Value))
		}
		switch {
		case s.Value == "" && at >= 0:
			lines = slices.Delete(lines, at, at+1)
		case s.Value == "":
		case at >= 0:
			lines[at] = line
		default:
			lines = append(lines, line)
		}
	}
	text := []byte(strings.Join(lines, "\n") + "\n")
	if len(text) > maxConfig {
		return nil, fail.Errorf(proto.Usage, "%s would have %d bytes, at most %d are allowed",
			proto.Visible(c.Path), len(text), maxConfig)
	}
	return text, nil
}
