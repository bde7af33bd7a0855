package command

import (
	"fmt"
	"strings"
)

// shells are the shells of Completion.
var shells = []string{"bash", "zsh", "fish"}

// Completion returns a script that completes the program's command line in a
// shell, "" for an unknown shell. For names the scripts run the program's trust
// command, which needs no relay or card.
func (p *Program) Completion(shell string) string {
	switch shell {
	case "bash":
		return p.bash()
	case "zsh":
		return p.zsh()
	case "fish":
		return p.fish()
	}
	return ""
}

// people is a shell command that lists the known names. Names need no quoting.
func (p *Program) people() string {
	return p.Name + ` -q trust 2>/dev/null | sed -n 's/^peer \([^ ]*\) .*/\1/p'`
}

func (c *command) wordsAndFlags() []string {
	return append(strings.Fields(flagWords(c.flags)), c.words...)
}

// taking returns the flags that take the next word.
func taking(flags []Flag) []Flag {
	var out []Flag
	for _, f := range flags {
		if f.Value != "" && !strings.HasPrefix(f.Value, "=") {
			out = append(out, f)
		}
	}
	return out
}

func flagWords(flags []Flag) string {
	var words []string
	for _, f := range flags {
		words = append(words, "-"+f.Name)
	}
	return strings.Join(words, " ")
}

func commandNames(commands []command) string {
	var words []string
	for _, c := range commands {
		words = append(words, c.name)
	}
	return strings.Join(words, " ")
}

// bash finds the command, the first word that is neither a flag nor its value,
// and completes what may stand there. bash splits HOST:PORT into three words.
func (p *Program) bash() string {
	var b strings.Builder
	fn := "_chatsecure_" + p.Name
	fmt.Fprintf(&b, "# bash completion for %s: source <(%s completion bash)\n%s() {\n", p.Name, p.Name, fn)
	b.WriteString("\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= i\n\tCOMPREPLY=()\n")
	b.WriteString("\tfor ((i = 1; i < COMP_CWORD; i++)); do\n\t\tcase ${COMP_WORDS[i]} in\n")
	var values []string
	for _, f := range taking(p.Flags) {
		values = append(values, "-"+f.Name, "--"+f.Name)
	}
	fmt.Fprintf(&b, "\t\t%s|:|=) ((i++)) ;;\n\t\t-*) ;;\n", strings.Join(values, "|"))
	b.WriteString("\t\t*) command=${COMP_WORDS[i]}; break ;;\n\t\tesac\n\tdone\n")
	b.WriteString("\tcase $command:$prev in\n")
	bashValues(&b, "", p.Flags)
	for _, c := range p.Commands {
		bashValues(&b, c.name, c.flags)
	}
	b.WriteString("\tesac\n\tcase $command in\n")
	bashWords(&b, "''", flagWords(p.Flags)+" "+commandNames(p.Commands))
	for _, c := range p.Commands {
		words := strings.Join(c.wordsAndFlags(), " ")
		if c.names {
			words += " $(" + p.people() + ")"
		}
		bashWords(&b, c.name, words)
	}
	b.WriteString("\tesac\n")
	var files []string
	for _, c := range p.Commands {
		if c.files {
			files = append(files, c.name)
		}
	}
	if len(files) > 0 {
		fmt.Fprintf(&b, "\tcase $command in %s) COMPREPLY+=($(compgen -f -- \"$cur\")) ;; esac\n", strings.Join(files, "|"))
	}
	fmt.Fprintf(&b, "}\ncomplete -F %s %s\n", fn, p.Name)
	return b.String()
}

func bashValues(b *strings.Builder, command string, flags []Flag) {
	for _, f := range taking(flags) {
		action := "return"
		switch {
		case len(f.Words) > 0:
			action = `COMPREPLY=($(compgen -W '` + strings.Join(f.Words, " ") + `' -- "$cur")); return`
		case f.Kind == File:
			action = `COMPREPLY=($(compgen -f -- "$cur")); return`
		case f.Kind == Dir:
			action = `COMPREPLY=($(compgen -d -- "$cur")); return`
		}
		fmt.Fprintf(b, "\t%s:-%s|%s:--%s) %s ;;\n", command, f.Name, command, f.Name, action)
	}
}

func bashWords(b *strings.Builder, command, words string) {
	fmt.Fprintf(b, "\t%s) COMPREPLY=($(compgen -W \"%s\" -- \"$cur\")) ;;\n", command, words)
}

// zsh describes each word by _arguments.
func (p *Program) zsh() string {
	var b strings.Builder
	fn := "_chatsecure_" + p.Name
	fmt.Fprintf(&b, "#compdef %s\n# zsh completion for %s: source <(%s completion zsh)\n%s() {\n", p.Name, p.Name, p.Name, fn)
	b.WriteString("\tlocal state line\n\tlocal -a commands\n\tcommands=(\n")
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "\t\t'%s:%s'\n", c.name, zshQuote(c.text))
	}
	b.WriteString("\t)\n\t_arguments -C \\\n")
	for _, f := range p.Flags {
		b.WriteString("\t\t" + zshFlag(f) + " \\\n")
	}
	b.WriteString("\t\t'1:command:->command' '*::argument:->argument'\n\tcase $state in\n")
	b.WriteString("\tcommand) _describe command commands ;;\n\targument)\n\t\tcase $line[1] in\n")
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "\t\t%s) _arguments", c.name)
		for _, f := range c.flags {
			b.WriteString(" " + zshFlag(f))
		}
		switch {
		case c.files:
			b.WriteString(" '*:file:_files'")
		case c.names && len(c.words) > 0:
			fmt.Fprintf(&b, " '1:word:(%s)' '*:name:($(%s))'", strings.Join(c.words, " "), zshQuote(p.people()))
		case c.names:
			fmt.Fprintf(&b, " '*:name:($(%s))'", zshQuote(p.people()))
		case len(c.words) > 0:
			fmt.Fprintf(&b, " '1:word:(%s)'", strings.Join(c.words, " "))
		}
		b.WriteString(" ;;\n")
	}
	fmt.Fprintf(&b, "\t\tesac ;;\n\tesac\n}\nif [[ $funcstack[1] == %s ]]; then %s \"$@\"; else compdef %s %s; fi\n", fn, fn, fn, p.Name)
	return b.String()
}

func zshFlag(f Flag) string {
	text := "'-" + f.Name + "[" + strings.NewReplacer("[", "(", "]", ")", ":", ";").Replace(zshQuote(f.Text)) + "]"
	if len(taking([]Flag{f})) > 0 {
		action := " "
		switch {
		case len(f.Words) > 0:
			action = "(" + strings.Join(f.Words, " ") + ")"
		case f.Kind == File:
			action = "_files"
		case f.Kind == Dir:
			action = "_files -/"
		}
		text += ":" + strings.ReplaceAll(f.Value, ":", `\:`) + ":" + action
	}
	return text + "'"
}

// zshQuote quotes a text for single quotes.
func zshQuote(s string) string { return strings.ReplaceAll(s, "'", `'\''`) }

// fish has a line for each word.
func (p *Program) fish() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# fish completion for %s: %s completion fish | source\ncomplete -c %s -f\n", p.Name, p.Name, p.Name)
	const noCommand = "__fish_use_subcommand"
	for _, f := range p.Flags {
		b.WriteString(fishFlag(p.Name, noCommand, f))
	}
	for _, c := range p.Commands {
		seen := "__fish_seen_subcommand_from " + c.name
		fmt.Fprintf(&b, "complete -c %s -n %s -a %s -d '%s'\n", p.Name, noCommand, c.name, fishQuote(c.text))
		for _, f := range c.flags {
			b.WriteString(fishFlag(p.Name, "'"+seen+"'", f))
		}
		if len(c.words) > 0 {
			fmt.Fprintf(&b, "complete -c %s -n '%s' -a '%s'\n", p.Name, seen, strings.Join(c.words, " "))
		}
		if c.files {
			fmt.Fprintf(&b, "complete -c %s -n '%s' -F\n", p.Name, seen)
		}
		if c.names {
			fmt.Fprintf(&b, "complete -c %s -n '%s' -a '(%s)'\n", p.Name, seen, fishQuote(p.people()))
		}
	}
	return b.String()
}

func fishFlag(program, condition string, f Flag) string {
	line := fmt.Sprintf("complete -c %s -n %s -o %s -d '%s'", program, condition, f.Name, fishQuote(f.Text))
	if len(taking([]Flag{f})) > 0 {
		switch {
		case len(f.Words) > 0:
			line += " -x -a '" + strings.Join(f.Words, " ") + "'"
		case f.Kind == File, f.Kind == Dir:
			line += " -r -F"
		default:
			line += " -x"
		}
	}
	return line + "\n"
}

func fishQuote(s string) string { return strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) }
