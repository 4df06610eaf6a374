"""What people named, as text that does nothing where it is shown."""

import re
import unicodedata

_MARKDOWN = re.compile(r"[\\`*_~<>|&$]|(?<=\])\(")
_NAMED = {  # of what pdfLaTeX has no letter for by itself, in its mathematics
    "αβγδεζηθικλμνξπρστυφχψω": "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu "
    "nu xi pi rho sigma tau upsilon phi chi psi omega",
    "ΓΔΘΛΞΠΣΥΦΨΩ": "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega",
    "∞≤≥≈≠∈→∑√": "infty le ge approx ne in to Sigma surd",
}
_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "{}&%$#_"},
        **{c: f"$\\{n}$" for signs, names in _NAMED.items() for c, n in zip(signs, names.split())},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "−": "$-$",
        "–": "--",
    }
)
_FORMULA = tuple("=+-@\t\n＝＋－＠")
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's control, format, halves, separators
_KEPT = "\n\t\u200c\u200d"  # the last two join letters in Persian and emoji


def visible(text: str) -> str:
    r"""The text with what controls a terminal, or turns it round, written as ``\x1b``."""
    hidden = {c for c in text if c not in _KEPT and unicodedata.category(c) in _HIDDEN}
    return text.translate({ord(c): c.encode("unicode_escape").decode() for c in hidden})


def flat(text: str) -> str:
    """Visible, and on one line."""
    return visible(" ".join(text.split()))


def markdown(text: str) -> str:
    """A cell or heading that shows the text: no HTML, link, emphasis or further column."""
    return _MARKDOWN.sub(r"\\\g<0>", flat(text))


def latex(text: str) -> str:
    r"""A cell that shows the text; ``\\`` before it takes no ``[`` or ``*`` for its own."""
    shown = flat(text).translate(_LATEX)
    return f"{{}}{shown}" if shown.startswith(("[", "*")) else shown


def spreadsheet(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe stands before one."""
    shown = visible(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
