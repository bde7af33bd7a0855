package command

import (
	"fmt"
	"path"
	"strings"
)

// Man returns the page for man(1), in the macros of man(7).
func (p *Program) Man() string {
	var b strings.Builder
	pkg := strings.TrimSuffix("./"+path.Dir(p.Source), "/.")
	fmt.Fprintf(&b, ".\\\" Made from the tables of %s; go test -update %s makes it again.\n", p.Source, pkg)
	fmt.Fprintf(&b, ".TH %s 1 \"\" ChatSecure \"User Commands\"\n", strings.ToUpper(p.Name))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.nf\n", p.Name, roff(p.Brief))
	for _, line := range p.Synopsis {
		b.WriteString("\\fB" + p.Name + "\\fR" + roff(strings.TrimPrefix(line, p.Name)) + "\n")
	}
	b.WriteString(".fi\n.SH DESCRIPTION\n")
	paragraphs(&b, p.About)
	if len(p.Commands) > 0 {
		b.WriteString(".SH COMMANDS\n")
	}
	for _, c := range p.Commands {
		item(&b, "\\fB"+roff(c.name)+"\\fR"+roff(strings.TrimPrefix(c.usage, c.name)), upper(c.text)+".")
		if len(c.flags) > 0 {
			b.WriteString(".RS\n")
			flagItems(&b, c.flags)
			b.WriteString(".RE\n")
		}
	}
	b.WriteString(".SH OPTIONS\n")
	paragraphs(&b, []string{p.Before})
	flagItems(&b, p.Flags)
	b.WriteString(".SH EXIT STATUS\n")
	for _, s := range p.Statuses {
		item(&b, "\\fB"+roff(s.Term)+"\\fR", upper(s.Text)+".")
	}
	for _, s := range p.More {
		b.WriteString(".SH " + roff(strings.ToUpper(s.Title)) + "\n")
		paragraphs(&b, s.Text)
		for _, i := range s.Items {
			item(&b, "\\fB"+roff(i.Term)+"\\fR", i.Text)
		}
	}
	if p.SeeAlso != "" {
		b.WriteString(".SH SEE ALSO\n" + roff(p.SeeAlso) + "\n")
	}
	return b.String()
}

func paragraphs(b *strings.Builder, texts []string) {
	for i, text := range texts {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		if text != "" {
			b.WriteString(roff(text) + "\n")
		}
	}
}

func flagItems(b *strings.Builder, flags []Flag) {
	for _, f := range flags {
		head := f.head()
		item(b, "\\fB\\-"+roff(f.Name)+"\\fR"+roff(head[1+len(f.Name):]), upper(f.Text)+".")
	}
}

// item writes a tagged paragraph. tag is in roff already.
func item(b *strings.Builder, tag, text string) {
	b.WriteString(".TP\n" + tag + "\n" + roff(text) + "\n")
}

// roff escapes a text: backslashes, hyphens, and the start of a control line.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return strings.ReplaceAll(s, "\n", " ")
}
