"""What a path names: classes of the right kind, and functions that are known for what they make."""

import sys
from importlib.util import find_spec

import gymnasium as gym
import pytest

import owo_agents
from owo_agents.registry import registry

FUNCTIONS = """\
from functools import partial
from os import system
import owo_agents

def plain(problem, *, total=1.0):
    return owo_agents.make("cws", problem, total=total)

def annotated(problem) -> owo_agents.Agent:
    return plain(problem)

def another(problem) -> str:
    return plain(problem)

double = partial(plain, total=2.0)
shell = partial(system)

class Duck:
    def act(self, obs, info): ...
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes a module of those functions in a folder."""

    def make(folder, name):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(FUNCTIONS)
        monkeypatch.syspath_prepend(tmp_path / folder)
        return name

    yield make
    for name in ("functions_of_mine", "functions_of_a_library"):
        sys.modules.pop(name, None)


@pytest.fixture
def env():
    return gym.make("AIRAN-FairMTL-v0", num_slots=4)


def test_functions_of_ones_own_need_say_nothing(module, env):
    mine = module("mine", "functions_of_mine")
    for name in ("plain", "annotated", "another", "double"):
        assert isinstance(owo_agents.make(f"{mine}:{name}", env), owo_agents.Agent)


def test_functions_of_a_library_say_what_they_make(module, env):
    library = module("site-packages", "functions_of_a_library")
    assert isinstance(owo_agents.make(f"{library}:annotated", env), owo_agents.Agent)
    for name in ("plain", "another", "double"):
        with pytest.raises(ValueError, match="does not say that it makes Agent"):
            owo_agents.make(f"{library}:{name}", env)


@pytest.mark.parametrize("name", ["system", "shell"])
def test_what_a_module_took_from_pythons_library_stays_pythons(module, env, name):
    mine = module("mine", "functions_of_mine")
    with pytest.raises(ValueError, match="does not say that it makes Agent"):
        owo_agents.make(f"{mine}:{name}", env)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("functions_of_mine:Duck", "Duck is no owo_agents.Agent"),
        ("functions_of_mine:owo_agents", "is not a class or function"),
        ("os:system", "module 'os' has no agent, and is not imported"),
        ("idlelib.idle:x", "is not imported"),
        ("pip.__main__:x", "is not imported"),
        (":x", "must be 'package.module:name'"),
        ("functions_of_mine:", "must be 'package.module:name'"),
    ],
)
def test_what_is_no_agent_is_refused(module, env, path, message):
    module("mine", "functions_of_mine")
    with pytest.raises(ValueError, match=message):
        owo_agents.make(path, env)
    assert "idlelib.idle" not in sys.modules


def test_what_is_registered_from_python_may_be_anything_that_makes_an_agent(monkeypatch, env):
    from owo_agents.registry import registry

    monkeypatch.setattr(registry, "entries", dict(registry.entries))
    owo_agents.register("any", lambda problem: owo_agents.cws(problem))
    assert isinstance(owo_agents.make("any", env), owo_agents.Agent)


@pytest.mark.parametrize("given", ["weighted", "per_user"])
def test_who_misspells_a_name_hears_of_agents_that_can_play_there(given):
    pytest.importorskip("torchjd")
    env = gym.make("AIRAN-FairMTL-v0", scenario="csi-prediction", gradients=given)
    with pytest.raises(ValueError, match="did you mean 'fairgrad'") as error:
        owo_agents.make("fairgrd", env)
    known = str(error.value).partition("known are ")[2].split(", ")
    away = set() if find_spec("ecos") else {"nash-mtl"}  # its solver has no wheels for 3.13
    fit = []
    for name in owo_agents.names().keys() - away:
        what = {name: "DualProj" if name == "aggregator" else "GeometricMean"}
        own = what if name in ("aggregator", "scalarizer") else {}
        try:
            owo_agents.make(name, env, **own)
        except ValueError as refused:
            assert f"gradients='{given}'" not in str(refused)
        else:
            fit.append(name)
    if given == "weighted":
        fit.append("owo-adaptive")  # with feedback="weighted"
    assert [name for name in known if name not in away] == sorted(fit)


def test_a_registered_agent_is_offered_everywhere_unless_it_says_otherwise(monkeypatch):
    monkeypatch.setattr(registry, "entries", dict(registry.entries))
    owo_agents.register("mine", lambda problem: None)
    owo_agents.register("narrow", lambda problem: None, gradients="per_user")
    for given in ("weighted", "per_user"):
        env = gym.make("AIRAN-FairMTL-v0", gradients=given)
        with pytest.raises(ValueError) as error:
            owo_agents.make("nothing-like-it", env)
        known = str(error.value).partition("known are ")[2].split(", ")
        assert "mine" in known and ("narrow" in known) == (given == "per_user")
    with pytest.raises(ValueError, match="unknown gradients 'weihgted': did you mean 'weighted'"):
        owo_agents.register("wrong", lambda problem: None, gradients="weihgted")
