"""The report: one HTML file that needs nothing else, for a phone or a desk, light or dark.

Everything that people named (suites, agents, settings, errors) is escaped where it enters the
page; chart data travel as JSON whose ``<`` are written ``\\u003c``, and the page's script puts
text in as text.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

import yaml

from owo_agents.benchmark.figures import certificates, claims
from owo_agents.benchmark.figures.leaderboard import Board, Row
from owo_agents.benchmark.figures.statistics import Estimate
from owo_agents.benchmark.report import tables
from owo_agents.benchmark.report.charts import Chart
from owo_agents.benchmark.report.gallery import Section
from owo_agents.benchmark.run.results import Result, Store
from owo_agents.benchmark.suite.manifest import Origin
from owo_agents.benchmark.suite.plan import Suite


def report(suite: Suite, origin: Origin, sections: Sequence[Section], store: Store) -> str:
    """The page.

    Args:
        suite: What was run.
        origin: The command that ran it.
        sections: What is done, with its charts.
        store: Knows what failed.
    """
    page = _Page()
    boards = [board for section in sections for board, _ in section.boards]
    body = "\n".join(
        [
            f"<h1>{escape(suite.name)}</h1>",
            f"<p>{escape(suite.summary)}</p>",
            _state(suite, store),
            _contents(sections),
            *(_section(page, n, section) for n, section in enumerate(sections)),
            _columns(boards),
            _origin(suite, origin, boards),
        ]
    )
    return Template(_file("report.html")).substitute(
        title=escape(f"{suite.name} · OWO-FMTL benchmark"),
        style=_file("report.css"),
        script=_file("report.js"),
        charts=_json([dataclasses.asdict(chart) for chart in page.charts]),
        body=body,
    )


class _Page:
    """The charts met so far; a figure names its chart by number."""

    def __init__(self) -> None:
        self.charts: list[Chart] = []

    def figure(self, chart: Chart) -> str:
        self.charts.append(chart)
        return (
            f'<figure data-chart="{len(self.charts) - 1}"><h3>{escape(chart.title)}</h3>'
            f"<figcaption>{escape(chart.caption)}</figcaption></figure>"
        )


def _file(name: str) -> str:
    return (resources.files("owo_agents.benchmark.report") / "assets" / name).read_text()


def _json(data: Any) -> str:
    """JSON that cannot end the script element it stands in; numbers to five digits."""
    text = json.dumps(_rounded(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _rounded(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_rounded(value) for value in data]
    return float(f"{data:.5g}") if isinstance(data, float) else data


def _state(suite: Suite, store: Store) -> str:
    """How much of the suite is done, and what failed."""
    cells = suite.cells()
    done = sum(cell.key in store for cell in cells)
    failed = [(c, e) for c in cells if c.key not in store and (e := store.failure(c.key))]
    text = f"<p class='soft'>{done} of {len(cells)} runs are done.</p>"
    if done < len(cells):
        text += (
            f"<p class='warn'>{len(cells) - done} runs are missing, {len(failed)} of them failed: "
            "the same command goes on from here.</p>"
        )
    if failed:
        names = suite.run_names()
        rows = "".join(
            f"<tr><td>{escape(names[cell.key])}</td><td>{escape(error)}</td></tr>"
            for cell, error in failed
        )
        text += (
            "<details open><summary>Failed runs</summary><div class='scroll'><table class='text'>"
            "<thead><tr><th>run</th><th>error</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></div></details>"
        )
    return text


def _contents(sections: Sequence[Section]) -> str:
    links = (
        f'<a href="#e{n}">{escape(section.experiment.title)}</a>'
        for n, section in enumerate(sections)
    )
    return f"<nav>{''.join(links)}</nav>"


def _section(page: _Page, number: int, section: Section) -> str:
    experiment = section.experiment
    parts = [f'<section id="e{number}"><h2>{escape(experiment.title)}</h2>']
    if experiment.notes:
        parts.append(f"<p>{escape(experiment.notes)}</p>")
    if section.left_out:
        names = escape("; ".join(section.left_out))
        parts.append(f"<p class='warn'>Left out of charts, since they diverged: {names}.</p>")
    parts += map(page.figure, section.across)
    for board, charts in section.boards:
        inner = "\n".join(
            [
                _leaderboard(board),
                _claims(board),
                *map(page.figure, charts),
                _certificates(board),
            ]
        )
        if len(section.boards) > 1:
            summary = escape(board.variant.label)
            inner = f"<details><summary>{summary}</summary>{inner}</details>"
        parts.append(inner)
    return "\n".join([*parts, "</section>"])


def _leaderboard(board: Board) -> str:
    titles = ["agent", *(metric.title for metric in board.metrics)]
    titles += [tables.difference_title(board), "P(better)"]
    head = "".join(
        f'<th scope="col"><button type="button">{escape(title)}</button></th>' for title in titles
    )
    order = {label: i for i, label in enumerate(board.runs)}
    rows = "".join(_row(board, row, order[row.label]) for row in board.rows)
    seeds = len({seed for runs in board.runs.values() for seed in runs})
    caption = (
        f"{board.experiment.rounds} rounds, {seeds} seed{'s' if seeds > 1 else ''}; "
        f"interquartile means with 95% bootstrap intervals; ranked by {board.headline.title}. "
        f"Differences are to {board.experiment.baseline} at the same seeds."
    )
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f'<tbody>{rows}</tbody></table></div><p class="soft">{escape(caption)}</p>'
    )


def _row(board: Board, row: Row, place: int) -> str:
    cells = [_figure_cell(row.figures.get(m.key), m.digits) for m in board.metrics]
    cells.append(_figure_cell(row.difference, board.headline.digits))
    cells.append(_figure_cell(row.improvement, 2))
    base = " class='base'" if row.label == board.experiment.baseline else ""
    swatch = f'<span class="swatch" style="background:var(--c{place % 10})"></span>'
    label = escape(row.label)
    return f'<tr{base}><td data-value="{label}">{swatch}{label}</td>{"".join(cells)}</tr>'


def _figure_cell(estimate: Estimate | None, digits: int) -> str:
    if estimate is None:
        return '<td data-value="">–</td>'
    text = tables.number_text(estimate.value, digits)
    if estimate.low is not None and estimate.high is not None:
        low, high = (tables.number_text(v, digits) for v in (estimate.low, estimate.high))
        text += f"<small>{low} … {high}</small>"
    return f'<td data-value="{estimate.value!r}">{text}</td>'


def _claims(board: Board) -> str:
    """What a paper says, and what was measured; nothing where the suite states no claims."""
    found = claims.verdicts(board)
    if not found:
        return ""
    rows = "".join(
        f"<tr><td>{escape(v.claim.text)}</td><td>{escape(v.word)}</td>"
        f"<td>{escape(v.measured)}</td></tr>"
        for v in found
    )
    head = "".join(f"<th>{name}</th>" for name in ("claim", "here", "measured"))
    return (
        f"<h3>Claims</h3><div class='scroll'><table class='text'><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div><p class='soft'>{escape(claims.RULE)}</p>"
    )


def _certificates(board: Board) -> str:
    """What the theory promised in every round; nothing without an oracle."""
    found = certificates.table(board)
    if not found:
        return ""
    names = list(dict.fromkeys(check.name for checks in found.values() for check in checks))
    rows = []
    for label, checks in found.items():
        texts = {check.name: str(check) for check in checks}
        cells = "".join(f"<td>{escape(texts.get(name, '–'))}</td>" for name in names)
        rows.append(f"<tr><td>{escape(label)}</td>{cells}</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in ("agent", *names))
    return (
        "<details><summary>Certificate</summary><p class='soft'>The certificate, regret ≤ "
        "(R^θ + R^w)/m + residual, holds for every learner: it checks the bookkeeping. Bounds (6) "
        "and (10) of the paper, with corrected constants, speak of the learner; priorities outside "
        "W may break (10). “To spare” is the mean of bound − figure.</p>"
        f"<div class='scroll'><table class='text'><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _columns(boards: Sequence[Board]) -> str:
    """What the columns mean."""
    meanings = {metric.title: metric.meaning for board in boards for metric in board.metrics}
    meanings["P(better)"] = "probability that a run of the agent beats a run of the baseline"
    rows = "".join(
        f"<tr><td>{escape(title)}</td><td>{escape(meaning)}</td></tr>"
        for title, meaning in meanings.items()
    )
    return (
        "<h2>What the columns mean</h2><div class='scroll'><table class='text'><tbody>"
        f"{rows}</tbody></table></div><p class='soft'>With few seeds a bootstrap interval is "
        "too narrow: three draws cannot show much spread.</p>"
    )


def _origin(suite: Suite, origin: Origin, boards: Sequence[Board]) -> str:
    """The command, the versions and the configuration."""
    found = {_versions(run) for b in boards for runs in b.runs.values() for run in runs.values()}
    mixed = "<p class='warn'>The runs were made with different versions.</p>" * (len(found) > 1)
    plain = json.loads(json.dumps(dataclasses.asdict(suite)))
    configuration = yaml.safe_dump(plain, allow_unicode=True, sort_keys=False, width=100)
    return (
        "<h2>To make it again</h2>"
        f"<pre>{escape(origin.command)}</pre>"
        f"<p class='soft'>Started {escape(origin.started)}.</p>{mixed}"
        f"<pre>{escape(chr(10).join(sorted(found)))}</pre>"
        "<details><summary>Configuration, defaults resolved</summary>"
        f"<pre>{escape(configuration)}</pre></details>"
    )


def _versions(run: Result) -> str:
    return ", ".join(f"{name} {version}" for name, version in run.versions.items())
