package manual

import (
	"fmt"
	"strings"
)

// Shells are those that Completion knows.
var Shells = []string{"bash", "zsh", "fish"}

// Completion is a script that completes the program's command line in a shell,
// "" for a shell that is not known. The scripts run the program's own "trust"
// command, which needs neither relay nor card, for the names of people.
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

// people lists the names that are known. Names hold no character that a shell
// minds.
func (p *Program) people() string {
	return p.Name + ` -q trust 2>/dev/null | sed -n 's/^peer \([^ ]*\) .*/\1/p'`
}

func (c *Command) words() []string {
	var words []string
	for _, f := range c.Flags {
		words = append(words, "-"+f.Name)
	}
	return append(words, c.Words...)
}

// taking lists the flags that take the next word.
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

func commandNames(commands []Command) string {
	var words []string
	for _, c := range commands {
		words = append(words, c.Name)
	}
	return strings.Join(words, " ")
}

// bash finds the command, which is the first word that is neither a flag nor
// the value of one, and completes what may stand there. bash makes a word of a
// colon, so that HOST:PORT is three.
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
	fmt.Fprintf(&b, "\t\t%s|:|=) ((i++)) ;;\n\t\t-*) ;;\n\t\t*) command=${COMP_WORDS[i]}; break ;;\n\t\tesac\n\tdone\n", strings.Join(values, "|"))
	b.WriteString("\tcase $command:$prev in\n")
	bashValues(&b, "", p.Flags)
	for _, c := range p.Commands {
		bashValues(&b, c.Name, c.Flags)
	}
	b.WriteString("\tesac\n\tcase $command in\n")
	bashWords(&b, "''", flagWords(p.Flags)+" "+commandNames(p.Commands))
	for _, c := range p.Commands {
		words := strings.Join(c.words(), " ")
		if c.Names {
			words += " $(" + p.people() + ")"
		}
		bashWords(&b, c.Name, words)
	}
	b.WriteString("\tesac\n")
	var files []string
	for _, c := range p.Commands {
		if c.Files {
			files = append(files, c.Name)
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
	fmt.Fprintf(&b, "#compdef %s\n# zsh completion for %s: source <(%s completion zsh)\n%s() {\n\tlocal state line\n\tlocal -a commands\n\tcommands=(\n", p.Name, p.Name, p.Name, fn)
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "\t\t'%s:%s'\n", c.Name, zshQuote(c.Text))
	}
	b.WriteString("\t)\n\t_arguments -C \\\n")
	for _, f := range p.Flags {
		b.WriteString("\t\t" + zshFlag(f) + " \\\n")
	}
	b.WriteString("\t\t'1:command:->command' '*::argument:->argument'\n\tcase $state in\n\tcommand) _describe command commands ;;\n\targument)\n\t\tcase $line[1] in\n")
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "\t\t%s) _arguments", c.Name)
		for _, f := range c.Flags {
			b.WriteString(" " + zshFlag(f))
		}
		switch {
		case c.Files:
			b.WriteString(" '*:file:_files'")
		case c.Names && len(c.Words) > 0:
			fmt.Fprintf(&b, " '1:word:(%s)' '*:name:($(%s))'", strings.Join(c.Words, " "), zshQuote(p.people()))
		case c.Names:
			fmt.Fprintf(&b, " '*:name:($(%s))'", zshQuote(p.people()))
		case len(c.Words) > 0:
			fmt.Fprintf(&b, " '1:word:(%s)'", strings.Join(c.Words, " "))
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

// zshQuote makes a text safe between single quotes.
func zshQuote(s string) string { return strings.ReplaceAll(s, "'", `'\''`) }

// fish has one line for each word.
func (p *Program) fish() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# fish completion for %s: %s completion fish | source\ncomplete -c %s -f\n", p.Name, p.Name, p.Name)
	const noCommand = "__fish_use_subcommand"
	for _, f := range p.Flags {
		b.WriteString(fishFlag(p.Name, noCommand, f))
	}
	for _, c := range p.Commands {
		seen := "__fish_seen_subcommand_from " + c.Name
		fmt.Fprintf(&b, "complete -c %s -n %s -a %s -d '%s'\n", p.Name, noCommand, c.Name, fishQuote(c.Text))
		for _, f := range c.Flags {
			b.WriteString(fishFlag(p.Name, "'"+seen+"'", f))
		}
		if len(c.Words) > 0 {
			fmt.Fprintf(&b, "complete -c %s -n '%s' -a '%s'\n", p.Name, seen, strings.Join(c.Words, " "))
		}
		if c.Files {
			fmt.Fprintf(&b, "complete -c %s -n '%s' -F\n", p.Name, seen)
		}
		if c.Names {
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
