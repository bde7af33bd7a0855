// Package term is the terminal of a person: raw mode, a line editor with recall
// and completion, questions and secrets, the width of text. What is printed
// while somebody types goes above the line, which is drawn again.
//
// It knows no command and nothing of chat: prompts, completions and the text
// below the prompt come from its user. Where a terminal cannot be made raw or
// knows no control sequences, lines are read as the terminal gives them.
// It follows ECMA-48, POSIX (General Terminal Interface) and Unicode (UAX #11,
// #29, in part).
package term
