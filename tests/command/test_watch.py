"""``owo run --render``."""

import io

import gymnasium as gym
import pytest
from rich.console import Console
from typer.testing import CliRunner

import owo_agents
from owo_agents.command import main as cli
from owo_agents.command.watch import watch


def test_the_command_shows_the_rounds_and_then_the_figures():
    result = CliRunner().invoke(
        cli.app, ["run", "--rounds", "2", "--set", "num_slots=3", "--render"]
    )
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line[:20] for line in lines if "slot" in line][:2] == [
        "round 1   slot 3/3  ",
        "round 2   slot 3/3  ",
    ]
    assert lines.index(next(x for x in lines if x.startswith("user 2"))) < next(
        i for i, x in enumerate(lines) if "2 rounds, seed 0" in x
    )


def test_a_refused_setting_is_one_line_with_render_too():
    result = CliRunner().invoke(cli.app, ["run", "--set", "num_slots=0", "--render"])
    assert result.exit_code == 2
    assert "num_slots=0" in result.output


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_every_slot_at_the_pace_of_its_frames(monkeypatch, terminal):
    pauses = []
    monkeypatch.setattr("owo_agents.command.watch.time.sleep", pauses.append)
    env = gym.make("AIRAN-FairMTL-v0", num_slots=3, render_mode="ansi")
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80)
    watch(env, owo_agents.make("owo-fmtl", env), 2, 0, console)
    slots = [f"round {t}   slot {i}/3" for t in (1, 2) for i in (1, 2, 3)]
    shown = [text for text in slots if text in out.getvalue()]
    assert shown == (slots if terminal else slots[2::3])
    assert pauses == ([1 / 8] * 6 if terminal else [])
