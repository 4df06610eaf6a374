"""What people named does nothing where it is shown: spreadsheets, Markdown, LaTeX, terminals."""

import csv
import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owo_agents.benchmark.report import inert
from owo_agents.benchmark.report.shown import Plain

ESCAPES = ["\x1b]0;owned\x07", "\x9b31m", "a\x08\x08b", "\u202egnp.exe", "\x00", "\ud800", "\r"]

KEPT = [
    "cws .2,.8",
    "α-fair – ±3",
    "实验 一",
    "two\nlines\tand a tab",
    "\U0001f469\u200d\U0001f52c",
]
FORMULAS = ["=1+1", "+1", "-2", "@SUM(A1)", "\t=1", "\n=1", "\r=1", "＝1", "－1", "=a|'b'!A0"]


@pytest.mark.parametrize("text", ESCAPES)
def test_what_controls_a_terminal_is_written_out(text):
    shown = inert.visible(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs"}
    shown.encode()
    assert shown.startswith(text[:1]) == text[:1].isprintable()


@pytest.mark.parametrize("text", KEPT)
def test_what_people_write_stays(text):
    assert inert.visible(text) == text


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text):
    assert inert.spreadsheet(text)[0] not in "=+-@\t\r\n＝＋－＠"


@pytest.mark.parametrize("text", ["", "owo-fmtl", "α = 1", "a=b", "1.5"])
def test_other_cells_are_as_they_were(text):
    assert inert.spreadsheet(text) == text


@given(st.text())
def test_cells_come_back_from_csv(text):
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow([inert.spreadsheet(text)])
    (row,) = csv.reader(io.StringIO(buffer.getvalue(), newline=""))
    assert row[0].removeprefix("'") == inert.visible(text).removeprefix("'")


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)>",
        "[click](javascript:alert(1))",
        "![](http://example.org/pixel.png)",
        "a|b",
        "`code`",
        "*a* _b_ ~~c~~ $x$",
        "&#60;script&#62;",
        "line\n# heading",
    ],
)
def test_markdown_shows_the_text_itself(text):
    shown = inert.markdown(text)
    live = re.sub(r"\\([^\w\s]|_)", "", shown)  # without what a backslash takes its meaning from
    assert not re.search(r"[<>|`*~&$]|\]\(|_", live)
    assert "\n" not in shown
    assert re.sub(r"\\([^\w\s]|_)", r"\1", shown) == inert.flat(text)


def test_figures_stay_legible_in_markdown():
    assert inert.markdown("0.0088 [0.0085, 0.0091]") == "0.0088 [0.0085, 0.0091]"
    assert inert.markdown("−0.0024") == "−0.0024"


@pytest.mark.parametrize("text", ["[2cm]", "*x"])
def test_a_latex_row_begins_with_no_argument_of_the_row_before(text):
    assert inert.latex(text).startswith("{}")


@pytest.mark.parametrize(
    "texts",
    [
        ("[red]x[/red]", ":skull:"),
        ("[/nothing]", "x"),
        ("a [bold", "error: x] y"),  # a tag that only the two together make
        ("a [/b", "list x] y"),
        ("a\\", "[b]"),
        *((text, "x") for text in ESCAPES),
    ],
)
def test_a_terminal_shows_names_as_they_are(texts):
    out = io.StringIO()
    Plain(file=out, markup=False, emoji=False, width=200).print(": ".join(texts))
    assert out.getvalue().strip() == ": ".join(map(inert.visible, texts)).strip()
