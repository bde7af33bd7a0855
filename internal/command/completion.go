package command

import (
	"context"
	"strings"
)

// runCompletion writes a completion script. It needs no relay, card or state.
func runCompletion(a *app, _ context.Context, args []string) error {
	f := newFlags("completion")
	if err := parseFlags(f, args); err != nil {
		return err
	}
	if f.NArg() != 1 || manpage().Completion(f.Arg(0)) == "" {
		return usageError("completion needs one shell: %s", strings.Join(shells, ", "))
	}
	a.out.text(manpage().Completion(f.Arg(0)))
	return nil
}
