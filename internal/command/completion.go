package command

import (
	"context"
	"embed"
	"strings"
)

// scripts complete the command line, one file a shell. For names they run the
// program's trust command, which needs no relay or card.
//
//go:embed completion
var scripts embed.FS

// runCompletion writes a completion script. It needs no relay, card or state.
func runCompletion(a *app, _ context.Context, args []string) error {
	script, err := scripts.ReadFile("completion/client." + strings.Join(args, " "))
	if err != nil {
		return usageError("completion needs one shell: bash, zsh, fish")
	}
	_, err = a.Stdout.Write(script) // at a terminal too it is data for a shell
	return err
}
