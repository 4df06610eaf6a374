"""LaTeX's tables are LaTeX: read strictly everywhere, and compiled where there is a TeX."""

import os
import re
import shutil
import subprocess

import pytest
from bench_helpers import SMALL, small

from owo_agents.benchmark.figures import leaderboard
from owo_agents.benchmark.report import inert, tables
from owo_agents.benchmark.run import backends, runner
from owo_agents.benchmark.run.results import Store

HOSTILE = [
    *("a_b & 50% $x$ #1 {y} ~ ^ \\z", "[1] *", "*[2pt]", "}\\end{tabular}", "\\input{doc}", "%"),
    *("α-fair, η = 0.1, θ*", "½ – larger −3², λ ≤ ∞", "<b>x</b> | y", "R^θ → Σ"),
]
AGENTS = {label: {"agent": "cws", "total": 0.3 + i / 100} for i, label in enumerate(HOSTILE)}
PDFLATEX = shutil.which("pdflatex")
PAGE = r"""
\documentclass{article}
\usepackage{booktabs}
\pdfpagewidth=2000mm \pdfpageheight=2000mm
\begin{document}
%s
\end{document}
"""


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Whole leaderboards, chosen columns, and a grid below each other and abreast."""
    grid = {"scenario": "sinusoid", "grid": {"num_slots": [4, 8]}}
    experiments = {"a & b_c": grid, "%": {"scenario": "csi-prediction"}}
    settings = {"num_slots": 4}
    agents = {**SMALL["agents"], **AGENTS}
    changes = {"agents": agents, "experiments": experiments, "settings": settings, "rounds": 2}
    chosen = small(charts=[], **changes)
    store = Store(tmp_path_factory.mktemp("latex"))
    runner.run(chosen.cells(), store, backend=backends.serial)
    boards = leaderboard.boards(chosen, store)
    columns = None, ["regret"], ["regret", "worst_user", "difference"]
    return [tables.latex(boards, named) for named in columns]


TOKEN = re.compile(r"\\[A-Za-z]+|\\[^A-Za-z]|[{}$&]|[^\\{}$&]")
ROWS = {"\\toprule", "\\midrule", "\\bottomrule", "\\cmidrule", "\\begin", "\\end", "\\\\"}
CELL = {"\\textbf", "\\multicolumn", *(f"\\{character}" for character in "{}&%$#_")}
NAMES = ("backslash", "asciitilde", "asciicircum", "less", "greater", "bar")
TEXT = {f"\\text{name}" for name in NAMES}
# What pdfLaTeX of today reads as it stands, and prints as it reads it.
LETTERS = {*map(chr, range(0x20, 0x7F)), *"½²±×·", "\n"} - {*'<>|"~^#_%'}


def strictly(tabular):
    """Read a tabular, refusing all that is not known to be harmless in one."""
    comment, _, body = tabular.partition("\n")
    assert comment.startswith("% ")
    depth, mathematics = 0, False
    for token in TOKEN.findall(body):
        if token == "$":
            mathematics = not mathematics
        elif token in "{}":
            depth += 1 if token == "{" else -1
            assert depth >= 0
        elif token == "&" or token in ROWS - {"\\cmidrule"}:
            assert not mathematics and depth == 0
        elif token.startswith("\\"):
            assert mathematics or token in ROWS | CELL | TEXT, token
        else:
            assert token in LETTERS, token
    assert depth == 0 and not mathematics
    for row in body.split("\\\\\n")[1:]:
        assert not row.startswith(("[", "*"))  # would be the row's own argument


def test_every_tabular_is_read_strictly(texts):
    for text in texts:
        tabulars = re.findall(r"^% .*?^\\end\{tabular\}\n", text, re.S | re.M)
        assert "".join(f"{one}\n" for one in tabulars).strip() == text.strip()
        for one in tabulars:
            strictly(one)


def test_greek_letters_and_signs_are_named():
    assert inert.latex("λ ≤ ∞, ω") == r"$\lambda$ $\le$ $\infty$, $\omega$"
    assert inert.latex("R^Θ") == r"R\textasciicircum{}$\Theta$"


@pytest.mark.slow
@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex on this machine")
def test_pdflatex_compiles_them(texts, tmp_path):
    if not subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).stdout:
        pytest.skip("TeX has no booktabs on this machine")
    boxes = "\n".join(rf"\noindent\hbox{{{one}}}" for text in texts for one in text.split("\n\n"))
    (tmp_path / "doc.tex").write_text(PAGE % boxes, encoding="utf-8")
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "doc"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "TEXMFVAR": str(tmp_path / "var")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    wrong = [line for line in done.stdout.splitlines() if line.startswith("!")]
    assert (done.returncode, wrong) == (0, [])
    assert (tmp_path / "doc.pdf").read_bytes().startswith(b"%PDF")
    assert "Missing character" not in (tmp_path / "doc.log").read_text(errors="replace")
