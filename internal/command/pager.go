package command

import (
	"cmp"
	"os"
	"os/exec"
	"slices"
	"strings"

	"chatsecure/internal/term"
)

// page shows lines by a pager if they have more rows than the terminal, which standard output is:
// the one that the variable PAGER names, or less. It returns false if nothing was shown.
func (a *app) page(text string) bool {
	f, ok := a.Stdout.(*os.File)
	if !ok || a.opt.batch || !isTerminal(a.Stdin) || !isTerminal(f) || a.Env("TERM") == "dumb" {
		return false
	}
	cols, height := term.Size(f)
	text = term.Wrap(text, cols)
	if strings.Count(text, "\n") < height {
		return false
	}
	pager := a.Env("PAGER")
	if _, err := exec.LookPath("less"); pager == "" && err != nil {
		return false
	}
	a.out.flush()
	cmd := exec.Command("/bin/sh", "-c", cmp.Or(pager, "less"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), f, os.Stderr
	less := "FRX" // as git has it, unless the person has an own one
	for _, v := range a.Environ {
		if own, ok := strings.CutPrefix(v, "LESS="); ok {
			less = own
		}
	}
	cmd.Env = append(slices.Clip(a.Environ), "LESS=+G$"+less) // the newest line is seen first
	const notStarted = 126                                    // and 127, by the shell
	err := cmd.Run()
	return err == nil || cmd.ProcessState != nil && cmd.ProcessState.ExitCode() < notStarted
}
