"""Names by PROTOCOL.md, "Names", and doc/names.md. The tables are read from the text."""
import functools, os, re, sys, unicodedata

SIMPLE = {"İ": "i", "ẞ": "ß"}  # where Python has the full mappings of a case alone


def text():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "doc", "names.md"), encoding="utf-8") as f:
        return f.read()


def table(head):
    return text().split("\n" + head + ":\n\n")[1].split("\n\n")[0]


@functools.cache
def scripts():
    found = []
    for line in table("Scripts").splitlines():
        name, *spans = line.split()
        spans = [[int(x, 16) for x in span.removeprefix("U+").split("-")] for span in spans]
        found.append((name, [(s[0], s[-1]) for s in spans]))
    return found


@functools.cache
def standing_behind(head):
    """All that stands before a = of the table, by what stands behind it."""
    found = {}
    for entry in table(head).split():
        before, behind = entry.split("=")
        for c in behind:
            found.setdefault(c, []).append(before)
    return found


def is_letter(c):
    return unicodedata.category(c)[0] == "L"


def is_digit(c):
    return unicodedata.category(c) == "Nd"


def lower(c):
    return SIMPLE[c] if c == "İ" else c.lower() if len(c.lower()) == 1 else c


@functools.cache
def orbits():
    """The letters with one simple case folding, by that."""
    found = {}
    for c in map(chr, range(sys.maxunicode + 1)):
        if is_letter(c):
            found.setdefault(simple_fold(c), []).append(c)
    return found


def simple_fold(c):
    folded = SIMPLE[c] if c == "ẞ" else c.casefold()
    return folded if len(folded) == 1 else c


def fold(name):
    out = ""
    for c in name:
        c = min(orbits().get(simple_fold(c), [c])) if is_letter(c) else c
        out += c.lower() if c.isascii() else c
    return out


def base(c):
    return standing_behind("Letters with marks, and their bases").get(lower(c), [lower(c)])[0]


def shapes(folded):
    found = [""]
    for c in folded:
        for c in str(unicodedata.digit(c)) if is_digit(c) else base(c):
            found = [shape + look for look in standing_behind("Shapes").get(c, [c]) for shape in found]
            if len(found) > 64:
                return []
    return found


def script(c):
    for name, spans in scripts():
        if any(first <= ord(c) <= last for first, last in spans):
            good = unicodedata.category(c) != "Lm" or c in "ー々"
            known = name != "Latin" or lower(c).isascii() or lower(c) in standing_behind("Letters with marks, and their bases")
            return name if good and known else None


def is_name(name):
    if not 1 <= len(name) <= 32 or name[0] in "._-" or name[-1] in "._-":
        return False
    letters = [c for c in name if is_letter(c)]
    if not all(is_letter(c) or is_digit(c) or c in "._-" for c in name) or any(c in "\u115f\u1160\u3164\uffa0" for c in name):
        return False
    used = {script(c) for c in letters}
    together = [{"Han", "Hiragana", "Katakana"}, {"Han", "Hangul"}, {"Han", "Bopomofo"}]
    if None in used or len(used) > 1 and not any(used <= mix for mix in together):
        return False
    folded = fold(name)
    alike = set(shapes(folded))
    return bool(alike) and folded not in "all list whois history help exit quit".split() and not alike & set(shapes("client") + shapes("relay"))
