"""The report: one HTML file that needs nothing else, for a phone or a desk, light or dark.

What it looks like is ``assets/report.html``. Everything that people named (suites, agents,
settings, errors) is escaped where it enters the page; chart data travel as JSON whose ``<`` are
written ``\\u003c``, and the page's script puts text in as text.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from typing import Any

import jinja2
import markupsafe
import yaml
from jinja2.utils import htmlsafe_json_dumps

from owo_agents.benchmark.figures import certificates, claims, judged
from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.figures.statistics import SAME
from owo_agents.benchmark.report import columns, inert, tables, words
from owo_agents.benchmark.report.gallery import Section
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite.manifest import Origin
from owo_agents.benchmark.suite.plan import Suite

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("owo_agents.benchmark.report", "assets"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=lambda value: inert.visible(value) if type(value) is str else value,
)


def report(suite: Suite, origin: Origin, sections: Sequence[Section], store: Store) -> str:
    """The page.

    Args:
        suite: What was run.
        origin: The command that ran it.
        sections: What is done, with its charts.
        store: Knows what failed.
    """
    charts = [dataclasses.asdict(chart) for section in sections for _, chart in section.charts()]
    boards = [board for section in sections for board, _ in section.boards]
    cells, names = suite.cells(), suite.run_names()
    errors = {cell.key: store.failure(cell.key) for cell in cells if cell.key not in store}
    runs = [run for board in boards for run in board.results]
    meanings = {metric.title: metric.meaning for board in boards for metric in board.metrics}
    meanings["P(better)"] = "share of common seeds at which it beats the baseline, ties half"
    return _TEMPLATES.get_template("report.html").render(
        suite=suite,
        origin=origin,
        sections=sections,
        done=len(cells) - len(errors),
        total=len(cells),
        failed=[(names[key], error) for key, error in errors.items() if error],
        meanings=meanings.items(),
        versions=sorted({", ".join(map(" ".join, run.versions.items())) for run in runs}),
        configuration=_configuration(suite),
        number=itertools.count().__next__,  # of a figure's chart among the data
        data=_json(charts),
        text=columns.number_text,
        difference_title=columns.difference_title,
        same=SAME,
        rule=claims.RULE,
        verdicts=tables.verdicts,
        slope_verdicts=tables.slope_verdicts,
        checks=_checks,
        judged=judged.MEANING,
        below=words.below,
        lasting=words.lasting,
        glossary=words.GLOSSARY,
    )


def _checks(board: Board) -> list[list[str]]:
    """What the theory promised in every round: a header, and a line for each agent."""
    told = {
        label: {check.name: str(check) for check in certificates.checks_of(by_seed.values())}
        for label, by_seed in board.runs.items()
    }
    names = list(dict.fromkeys(name for texts in told.values() for name in texts))
    lines = [[a, *(texts.get(name, "–") for name in names)] for a, texts in told.items() if texts]
    return [["agent", *names], *lines] if lines else []


def _configuration(suite: Suite) -> str:
    plain = json.loads(json.dumps(dataclasses.asdict(suite)))
    return yaml.safe_dump(plain, allow_unicode=True, sort_keys=False, width=100)


def _json(data: Any) -> markupsafe.Markup:
    """JSON that cannot end the script element it stands in; numbers to five digits."""
    exact = json.dumps(data, allow_nan=False)
    rounded = json.loads(exact, parse_float=lambda number: float(f"{float(number):.5g}"))
    return htmlsafe_json_dumps(rounded, ensure_ascii=False, separators=(",", ":"))
