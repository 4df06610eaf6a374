"""``owo site``: what is refused before any work, and what it writes."""

import sys

import pytest
import yaml
from typer.testing import CliRunner

from owo_agents.command.main import app
from owo_env.radio.site import load, scene

CANYON = ["--scene", "simple_street_canyon", "--transmitter=-30,0,20"]


def owo(*words):
    return CliRunner().invoke(app, ["site", *map(str, words)])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--scene: must be given"),
        (["--scene", "munich"], "--transmitter: must be given"),
        (["--scene", "munich", "--transmitter", "1,2"], "transmitter='1,2': must be three figures"),
        (["--scene", "munich", "--transmitter", "1,2,nan"], "transmitter"),
        ([*CANYON, "--users", "1"], "users=1"),
        (["--recipe", "nowhere.yaml"], "--recipe 'nowhere.yaml'"),
    ],
)
def test_bad_input(tmp_path, words, said):
    result = owo(tmp_path / "a.npz", *words)
    assert result.exit_code == 2 and said in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_written(tmp_path):
    assert "ends in .npz" in owo(tmp_path / "a.csv", *CANYON).output
    assert "there is no folder" in " ".join(owo(tmp_path / "no" / "a.npz", *CANYON).output.split())


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (["munich"], "must be a mapping"),
        ({"scenes": "munich"}, "did you mean 'scene'"),
        ({"streets": ["north"]}, "must be a mapping of a street's fields"),
        ({"streets": [{"name": "a", "kind": "alley", "start": [0, 0], "end": [1, 1]}]}, "alley"),
        ({"streets": [{"nam": "a"}]}, "nam"),
    ],
)
def test_recipes_that_are_none(tmp_path, recipe, said):
    if isinstance(recipe, dict) and "streets" in recipe:
        recipe = {"scene": "munich", "transmitter": [0, 0, 50], **recipe}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    result = owo(tmp_path / "a.npz", "--recipe", tmp_path / "r.yaml")
    assert result.exit_code == 2 and said in " ".join(result.output.split())


def test_without_the_extra_its_line_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sionna.rt", None)
    result = owo(tmp_path / "a.npz", *CANYON)
    said = " ".join(result.output.split())
    assert result.exit_code == 2
    if sys.version_info < (3, 11):  # where no line of pip's would help
        assert "needs sionna-rt, which needs Python 3.11 or later" in said
    else:
        assert "needs sionna-rt: pip install" in said
        assert "sionna-rt<3,>=2.2" in said.replace(" ", "")


def test_without_llvm_debians_package_is_named(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name in ("sionna", "sionna.rt"):  # whether or not it is installed
                raise ImportError("jit_llvm_init(): LLVM API initialization failed ..")
            return None

    for name in [name for name in sys.modules if name.startswith("sionna")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(ImportError, match=r"LLVM 19 or later .* libllvm19"):
        scene.tracer()


@pytest.mark.slow
def test_a_site_in_one_command(tmp_path, monkeypatch):
    monkeypatch.setattr(scene, "RAYS", 20_000)
    try:
        scene.tracer()
    except ImportError as error:
        pytest.skip(str(error))
    result = owo(tmp_path / "a.npz", *CANYON, "--users", "8", "--look-at", "20,0,1.5")
    assert result.exit_code == 0, result.output
    assert "a.npz: 8 places, streets:" in " ".join(result.output.split())
    assert len(load(tmp_path / "a.npz").along) == 8
