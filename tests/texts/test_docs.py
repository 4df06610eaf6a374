"""The documentation: its Python runs as it is printed, and the site has a page for all there is."""

import importlib
import inspect
import re
import zlib

import pytest
from places import REPOSITORY

import owo_agents
import owo_env
from owo_agents.registry import registry

DOCS = REPOSITORY / "docs"
SITE = REPOSITORY / "build" / "docs"
# Read before any test registers its own.
AGENTS, SCENARIOS = sorted(owo_agents.names()), sorted(owo_env.scenario_names())
PAGES = sorted(p for p in DOCS.rglob("*.md") if p.parent.name != "each")

# A comment before a block says what it needs, or why it is not run.
BLOCK = re.compile(r"(?:<!-- (needs|not run): (.*?) -->\n)?```python\n(.*?)```", flags=re.S)
BLOCKS = [
    pytest.param(*found, id=f"{page.relative_to(DOCS)}-{number}")
    for page in PAGES
    for number, found in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1)
]


@pytest.mark.parametrize(("comment", "what", "code"), BLOCKS)
def test_python_block(comment, what, code, tmp_path, monkeypatch, capsys):
    if comment == "needs":
        pytest.importorskip(what)
    code = compile(code, "block", "exec")
    if comment == "not run":
        return
    monkeypatch.setattr(registry, "entries", dict(registry.entries))
    monkeypatch.chdir(tmp_path)
    exec(code, {"__name__": "docs"})


def test_nearly_every_block_is_run():
    assert len(BLOCKS) > 10
    assert sum(block.values[0] == "not run" for block in BLOCKS) <= 1


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_has_a_page_with_its_arguments(name):
    module, _, cls = owo_env.scenarios.registry.entries[name][0].partition(":")
    page = (DOCS / "scenarios" / f"{name}.md").read_text(encoding="utf-8")
    assert f".. autoclass:: {module}.{cls}\n" in page
    assert f"\n{name}\n" in (DOCS / "scenarios" / "index.md").read_text(encoding="utf-8")


# What follows looks at the site as it was built.
built = pytest.mark.skipif(not SITE.exists(), reason="there is no site: make docs")


def inventory():
    """Role and name of all that the site describes."""
    raw = (SITE / "objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(raw).decode().splitlines()
    return {(line.split()[1], line.split()[0]) for line in lines}


def public(module):
    """The public names of a module: those that it lists, or else those that it defines."""
    own = getattr(module, "__all__", None) or [
        name
        for name, thing in vars(module).items()
        if getattr(thing, "__module__", None) == module.__name__
        and (inspect.isclass(thing) or inspect.isfunction(thing))
        and not name.startswith("_")
    ]
    return {f"{module.__name__}.{name}" for name in own}


@built
@pytest.mark.parametrize(
    "name",
    [
        *("owo_env", "owo_env.fairness", "owo_env.regret", "owo_env.oracle", "owo_agents"),
        *("owo_env.env", "owo_env.vector_env", "owo_agents.scalarizer", "owo_agents.rl.vec_env"),
        *("owo_agents.optimizer", "owo_env.scenarios.traces"),
    ],
)
def test_every_public_name_is_described(name):
    described = {thing for role, thing in inventory() if role.startswith("py:")}
    names = public(importlib.import_module(name))
    assert names
    assert names - described == set()


@built
def test_every_agent_has_a_page():
    pages = {page for role, page in inventory() if role == "std:doc"}
    assert {f"docs/agents/each/{name}" for name in AGENTS} - pages == set()


def html():
    for page in SITE.rglob("*.html"):
        yield page, page.read_text(encoding="utf-8")


@built
def test_no_link_within_the_site_is_broken():
    texts = dict(html())
    anchors = {page: set(re.findall(r'\bid="([^"]+)"', text)) for page, text in texts.items()}
    broken = set()
    for page, text in texts.items():
        for link in re.findall(r'(?:href|src)="([^"]*)"', text):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = (page.parent / file.partition("?")[0]).resolve() if file else page
            anchored = not anchor or target not in anchors or anchor in anchors[target]
            if not (target.exists() and anchored):
                broken.add((str(page.relative_to(SITE)), link))
    assert broken == set()


@built
def test_the_site_loads_nothing_from_elsewhere():
    loads = r'<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc="(?:https?:)?//[^"]*"'
    sheets = r'<link\b(?![^>]*rel="canonical")[^>]*href="(?:https?:)?//[^"]*"'
    for page, text in html():
        assert re.findall(f"{loads}|{sheets}", text) == [], page
    for sheet in SITE.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert re.findall(r"""(?:@import|url\()\s*["']?(?:https?:)?//""", text) == [], sheet
