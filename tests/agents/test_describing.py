"""What can be told to agents and scenarios is printed whole; near misses are answered."""

import inspect

import pytest
from typer.testing import CliRunner

import owo_agents
import owo_env
from owo_agents.command import main as cli
from owo_env import checks

# Read before any test registers its own.
AGENTS, SCENARIOS = sorted(owo_agents.names()), sorted(owo_env.scenario_names())


def owo(*words):
    return CliRunner().invoke(cli.app, list(words))


@pytest.mark.parametrize("name", [*AGENTS, *SCENARIOS])
def test_every_argument_has_a_type_and_a_line(name):
    one = (owo_agents if name in AGENTS else owo_env).describe(name)
    assert one.summary
    for argument in one.arguments:
        assert argument.type and argument.line, argument
    assert all(argument.name in owo("list", name).output for argument in one.arguments)


@pytest.mark.parametrize("name", AGENTS)
def test_what_is_described_is_what_is_taken(name):
    problem = owo_env.make_scenario("sinusoid").problem
    taken = {argument.name for argument in owo_agents.describe(name).arguments}
    with pytest.raises(TypeError) as caught:
        owo_agents.make(name, problem, no_such_argument=1)
    if name != "owo-adaptive":  # what it takes depends on the problem
        assert set(str(caught.value).partition("known are ")[2].split(", ")) - {""} == taken


def test_defaults_and_units_are_those_of_the_code():
    taken = {one.name: one for one in owo_env.describe("csi-prediction").arguments}
    cls = owo_env.scenarios.registry.find("csi-prediction")
    parameters = inspect.signature(cls).parameters
    assert {n: one.default for n, one in taken.items()} == {
        n: repr(p.default) for n, p in parameters.items()
    }
    assert taken["num_slots"].unit == "slots"
    assert "`" not in str(owo_env.describe("csi-prediction"))


def test_a_path_is_described_too():
    assert "zeal" in str(owo_agents.describe(f"{__name__}:Eager"))
    assert owo("list", f"{__name__}:Eager").exit_code == 0


class Eager(owo_agents.Agent):
    """Plays.

    Args:
        zeal: [J] How much,
            and more.
    """

    def __init__(self, problem, zeal: float = 2.0):
        super().__init__(problem)

    def act(self, obs, info):
        return {}


def test_lines_run_on_and_units_stand_first():
    (zeal,) = owo_agents.describe(f"{__name__}:Eager").arguments
    assert (zeal.line, zeal.unit, zeal.default) == ("How much, and more.", "J", "2.0")


@pytest.mark.parametrize(
    ("given", "known", "meant"),
    [
        ("lr", ["learning_rate", "rate", "target"], "learning_rate"),
        ("csi", ["cws", "csi-prediction"], "csi-prediction"),
        ("mnist", ["rainbow-mnist", "sinusoid"], "rainbow-mnist"),
        ("sinsoid", ["rainbow-mnist", "sinusoid"], "sinusoid"),
        ("fmtl", ["owo-fmtl", "famo"], "owo-fmtl"),
    ],
)
def test_near_misses(given, known, meant):
    assert checks.nearest(given, known)[0] == meant


def test_near_misses_are_answered_in_the_terminal():
    assert "did you mean 'learning_rate'?" in owo("run", "--arg", "lr=0.1").stderr
    assert "did you mean 'sinusoid'?" in owo("run", "--scenario", "sin").stderr
    both = "did you mean 'csi-feedback' or 'csi-prediction'"
    assert both in owo("run", "--scenario", "csi").stderr
    assert both in owo("list", "csi").stderr
    assert owo("list", "no-such-name").exit_code == 2
