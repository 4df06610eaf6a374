"""What a table shows, as text for a terminal and as HTML for a notebook: people's names inert."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import jinja2
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from owo_agents.benchmark.figures.statistics import Estimate
from owo_agents.benchmark.report import inert
from owo_agents.benchmark.report.tables import figure_text
from owo_agents.benchmark.suite.values import words

WIDTH = 120  # of a text whose reader's width is not known

_TABLE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """\
<table>
{% if title %}<caption style="text-align: left">{{ title }}</caption>
{% endif %}
<thead><tr>{% for name in head %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for value in row %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table>{% if note %}<p>{{ note }}</p>{% endif %}
"""
)
_LINE = jinja2.Environment(autoescape=True).from_string("<p>{{ line }}</p>\n")


class Plain(Console):
    """Shows texts as they are, whoever named what they speak of: no markup, nothing unseen."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(inert.visible(text), **options)


def text(things: Iterable[Table | str], width: int = WIDTH) -> str:
    """Tables and lines as text."""
    file = io.StringIO()
    looks: Any = dict(markup=False, emoji=False, highlight=False, color_system=None)
    console = Plain(file=file, width=width, force_terminal=False, force_jupyter=False, **looks)
    for thing in things:
        console.print(thing, soft_wrap=isinstance(thing, str))
    return "\n".join(line.rstrip() for line in file.getvalue().rstrip().splitlines())


def html(things: Iterable[Table | str]) -> str:
    """Tables and lines as HTML."""
    return "".join(
        _LINE.render(line=inert.visible(thing)) if isinstance(thing, str) else _html(thing)
        for thing in things
    )


def _html(table: Table) -> str:
    columns = [[_visible(cell) for cell in column.cells] for column in table.columns]
    return _TABLE.render(
        title=_visible(table.title),
        note=_visible(table.caption),
        head=[_visible(column.header) for column in table.columns],
        rows=list(zip(*columns)),
    )


def _visible(cell: Any) -> str:
    return inert.visible(str(cell or ""))


class Records(list[dict[str, Any]]):
    """A list of mappings with the same keys, which shows itself as a table.

    ``pandas.DataFrame`` takes it as it is.
    """

    def table(self) -> Table:
        """The records as a table."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for key in self[0] if self else ():
            table.add_column(key, no_wrap=True)
        for record in self:
            table.add_row(*map(_told, record.values()))
        return table

    def __repr__(self) -> str:
        return text([self.table()], width=1000) if self else "none"  # nothing is left out

    def _repr_html_(self) -> str:
        return html([self.table()] if self else ["none"])


def _told(value: Any) -> str:
    """A value of a record for people."""
    if value is None or isinstance(value, Estimate):
        return figure_text(value, 4, spread=value is not None and value.low is not None)
    return f"{value:.4f}" if isinstance(value, float) else words(value)
