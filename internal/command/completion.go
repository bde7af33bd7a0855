package command

import (
	"context"
	"embed"
)

// scripts complete the command line, one file a shell. For names they run the
// program's trust command, which needs no relay or card.
//
//go:embed completion
var scripts embed.FS

// runCompletion writes a completion script. It needs no relay, card or state.
func runCompletion(a *app, _ context.Context, args []string) error {
	f := newFlags("completion")
	if err := parseFlags(f, args); err != nil {
		return err
	}
	script, err := scripts.ReadFile("completion/client." + f.Arg(0))
	if err != nil || f.NArg() != 1 {
		return usageError("completion needs one shell: bash, zsh, fish")
	}
	a.out.text(string(script))
	return nil
}
