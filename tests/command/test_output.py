"""What the command shows and leaves behind where terminals, disks and people are unkind."""

import dataclasses
import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys

import yaml
from bench_helpers import SMALL, small
from places import REPOSITORY
from typer.testing import CliRunner

from owo_agents.benchmark.figures import leaderboard
from owo_agents.benchmark.run import backends
from owo_agents.benchmark.run.results import Store
from owo_agents.command import main as cli
from owo_agents.command import terminal
from owo_env import files

OWO = [sys.executable, "-c", "from owo_agents.command.main import main; main()"]
SHORT = {**SMALL, "rounds": 2, "charts": []}


def owo(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def bench(folder, data=SHORT, *words):
    (folder / "s.yaml").write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    out = folder / "out"
    return owo(
        "bench", folder / "s.yaml", "--backend", "serial", "--trust", "--out", out, *words
    ), out


def test_an_output_that_is_not_utf8_costs_neither_the_run_nor_the_report(tmp_path):
    agents = {"实验": {"agent": "cws"}, "α-fair": {"agent": "owo-fmtl"}}
    text = yaml.safe_dump({**SHORT, "agents": agents}, allow_unicode=True)
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    more = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [*OWO, "bench", "s.yaml", "--backend", "serial"],
        cwd=tmp_path,
        env={**os.environ, **more},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert b"?-fair" in done.stdout and b"fairness" in done.stdout
    assert "α-fair" in (tmp_path / "results/s/report.html").read_text(encoding="utf-8")


def test_a_full_disk_is_one_sentence_that_says_what_is_kept(tmp_path, monkeypatch):
    save, saved = Store.save, []

    def full(store, result):
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        saved.append(save(store, result))

    monkeypatch.setattr(Store, "save", full)
    done, out = bench(tmp_path)
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "owo: No space left on device; the results stored before are kept; "
        "the same command goes on from there"
    ]
    monkeypatch.undo()
    assert len(list((out / "cells").iterdir())) == 2
    again, _ = bench(tmp_path)
    assert again.exit_code == 0 and "2 runs were there already" in again.output


def test_a_quota_met_while_a_file_is_written_leaves_no_half_of_it(tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**SHORT, "rounds": 100}), encoding="utf-8")
    done = subprocess.run(
        [*OWO, "bench", "s.yaml", "--backend", "serial", "--out", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        preexec_fn=limited,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("owo: File too large") and "Traceback" not in done.stdout
    assert list((tmp_path / "out" / "cells").iterdir()) == []


def test_the_disk_is_full_when_the_report_is_made(tmp_path, monkeypatch):
    write = files.write

    def full(path, content):
        if str(path).endswith("results.jsonl"):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        write(path, content)

    monkeypatch.setattr(files, "write", full)
    done, out = bench(tmp_path)
    assert done.exit_code == 1
    assert "exceeded; the results stored before are kept" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and len(list((out / "cells").iterdir())) == 4


def test_a_folder_moved_in_mid_run_is_one_sentence_that_says_what_is_kept(tmp_path):
    mover = {"agent": "bench_helpers:MovesTheFolder", "to": str(tmp_path / "moved")}
    mover["folder"] = str(tmp_path / "out")
    done, out = bench(tmp_path, {**SHORT, "agents": {"first": {"agent": "cws"}, "mover": mover}})
    assert done.exit_code == 1
    imports, line = done.stderr.splitlines()
    assert "imports bench_helpers" in imports
    assert line.startswith("owo: No such file or directory")
    assert f"{out} was moved or deleted: what it held went with it, the rest is lost" in line
    assert not out.exists()
    assert len(list((tmp_path / "moved" / "cells").iterdir())) == 1


def test_a_folder_deleted_after_the_last_run_is_said(tmp_path, monkeypatch):
    run = cli.runner.run

    def ending(*args, **kwargs):
        outcome = run(*args, **kwargs)
        shutil.rmtree(tmp_path / "out")
        return outcome

    monkeypatch.setattr(cli.runner, "run", ending)
    done, _ = bench(tmp_path)
    assert done.exit_code == 1 and "was moved or deleted" in done.stderr
    assert len(done.stderr.splitlines()) == 1


HOSTILE = ["\x1b]0;owned\x07", "a [/b", "[red]r[/red]", "\x9b2J", "\u202etxt", ":skull:", "\ud800"]


def test_hostile_names_reach_the_terminal_as_inert_text(tmp_path):
    agents = {name: {"agent": "cws", "total": 0.3 + 0.1 * i} for i, name in enumerate(HOSTILE)}
    agents["x] [/c"] = {"agent": "bench_helpers:BlowsUp"}
    sinusoid = {"scenario": "sinusoid", "settings": {"num_slots": 4}}
    experiments = {
        "e": {**sinusoid, "title": "\x1b[2J [/x"},
        "f]": {**sinusoid, "rounds": 3, "title": "[/f]"},
    }
    data = {**SHORT, "agents": agents, "experiments": experiments, "seeds": 1}
    data["claims"] = {"\x1b[31m": {"figure": "fairness", "agent": HOSTILE[0], "at_least": 0}}
    (tmp_path / "s.yaml").write_text(json.dumps(data), encoding="utf-8")
    out = tmp_path / "out"
    done = owo("bench", tmp_path / "s.yaml", "--backend", "serial", "--out", out, "--trust")
    assert done.exit_code == 1 and "2 runs failed" in done.stderr
    text = done.stdout + done.stderr
    assert not set("\x1b\x07\x9b\u202e\ud800") & set(text)
    for shown in (
        r"\x1b]0;owned\x07",
        "[red]r[/red]",
        "a [/b",
        ":skull:",
        r"\x1b[2J [/x",
        "[/f]",
    ):
        assert shown in text
    assert re.search(r"failed x\] \[/c", text)


def test_a_tuning_folder_that_leads_elsewhere_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "tuning").symlink_to(tmp_path / "elsewhere")
    done, _ = bench(tmp_path, SHORT, "--tune")
    assert done.exit_code == 2 and "leads out of the folder" in done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_heading_of_a_single_run_is_inert_too(tmp_path):
    agent = {"agent": "cws"}
    chosen = small(agents={"a": agent}, seeds=1, rounds=1)
    store = Store(tmp_path)
    cli.runner.run(chosen.cells(), store, backend=backends.serial)
    (board,) = leaderboard.boards(chosen, store)
    result = board.runs["a"][0]
    cell = dataclasses.replace(result.cell, agent="rl:[/x]\x1b[2J")
    board = dataclasses.replace(board, runs={"a": {0: dataclasses.replace(result, cell=cell)}})
    with terminal.console.capture() as shown:
        terminal.console.print(terminal.summary(board))
    assert r"rl:[/x]\x1b[2J on sinusoid" in shown.get()
