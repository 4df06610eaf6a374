"""What is made from results: ``results.jsonl``, tables, figures and the report."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from owo_agents.benchmark.figures.leaderboard import Board
from owo_agents.benchmark.report import stale, tables
from owo_agents.benchmark.report.gallery import Section, sections
from owo_agents.benchmark.report.page import report
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite.manifest import Origin
from owo_agents.benchmark.suite.plan import Suite
from owo_env import files


def publish(
    suite: Suite, origin: Origin, boards: Sequence[Board], store: Store, formats: Sequence[str]
) -> list[Path]:
    """Write everything, the report last; returns what was written.

    Raises:
        ValueError: The figures' folder is a link that leads out of the results folder.
    """
    found = sections(boards)
    pictures = figures(suite, found, store.folder, formats)
    files.write(store.folder / "results.jsonl", "".join(json_lines(boards)))
    page = store.folder / "report.html"
    written = [table(store.folder, boards, "md"), *pictures, page]
    files.write(page, report(suite, origin, found, store))
    return written


def figures(
    suite: Suite, found: Sequence[Section], folder: Path, formats: Sequence[str]
) -> list[Path]:
    """Draw every chart in each of the formats, and remove pictures of charts that are no more.

    Returns what was written.

    Raises:
        ValueError: The figures' folder is a link that leads out of the results folder.
    """
    # Here, since matplotlib is half of what `owo --help` would load.
    from owo_agents.benchmark.report import plots

    stems, inside = _stems(suite), files.inside(folder, "figures")
    inside.mkdir(exist_ok=True)
    written, names = {}, set()
    for section in found:
        for subject, chart in section.charts():
            name = f"{stems[section.experiment.name, subject]}-{chart.name}"
            names.add(name)
            for suffix, content in plots.draw(chart, subject, formats).items():
                files.write(inside / f"{name}.{suffix}", content)
                written[f"{name}.{suffix}"] = stale.digest(content)
    stale.clear(folder, written, names)
    return [inside / name for name in written]


def table(
    folder: Path, boards: Sequence[Board], format_: str, columns: Sequence[str] | None = None
) -> Path:
    """Write the leaderboards, or chosen columns of them, in one of ``tables.FORMATS``.

    Raises:
        ValueError: A column that nobody has.
    """
    suffix, render = tables.FORMATS[format_]
    path = folder / f"leaderboard.{suffix}"
    files.write(path, render(boards, columns))
    return path


def json_lines(boards: Sequence[Board]) -> Iterator[str]:
    """A line for every run: its configuration, its figures and what it was made with."""
    for board in boards:
        for label, by_seed in board.runs.items():
            for seed, result in by_seed.items():
                cell = result.cell
                line = {
                    "experiment": board.experiment.name,
                    "point": dict(board.variant.point),
                    "label": label,
                    "scenario": cell.scenario,
                    "settings": dict(cell.settings),
                    "agent": cell.agent,
                    "arguments": dict(cell.arguments),
                    "rounds": cell.rounds,
                    "seed": seed,
                    "key": cell.key,
                    **{m.key: m.of(result) for m in board.metrics},
                    "seconds": result.seconds,
                    "versions": dict(result.versions),
                }
                yield json.dumps(line, ensure_ascii=False) + "\n"


def _stems(suite: Suite) -> dict[tuple[str, str], str]:
    """How the figures' files begin by experiment and subject; where two would, a digest follows."""
    stems = {
        (e.name, subject): slug(subject)
        for e in suite.experiments
        for subject in (e.title, *map(e.titled, e.variants))
    }
    often = Counter(stem.casefold() for stem in stems.values())  # some file systems fold case
    return {
        key: stem if often[stem.casefold()] == 1 else f"{stem}-{_digest(key)}"
        for key, stem in stems.items()
    }


def _digest(key: tuple[str, str]) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:8]


def slug(text: str) -> str:
    """A file name from people's text: letters, digits, points and dashes, not too long."""
    return re.sub(r"[^A-Za-z0-9.=]+", "-", text).strip("-.")[:80] or "unnamed"
