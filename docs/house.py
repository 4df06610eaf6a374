"""How this house writes, for Sphinx: so that texts and docstrings need no markup of its own."""

from __future__ import annotations

import pydoc
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from numpy.typing import ArrayLike
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import stringify_annotation

import owo_agents
import owo_env
from owo_agents.registry import registry

NAME = re.compile(r"owo_(env|agents)(\.\w+)+")
LIKE = stringify_annotation(ArrayLike, "smart")
ARRAY = r"~numpy\.ndarray\[tuple\[~typing\.Any, \.\.\.\], ~numpy\.dtype\[(.*?)\]\]"
EACH = Path(__file__).parent / "agents" / "each"
ABOUT = {  # what was written about the agents of a room
    "owo_agents.learner.adaptive": "adaptive",
    "owo_agents.rivals": "rivals",
    "owo_agents.rl": "rl",
}
PAGE = """# `{name}`

{summary}.

```console
owo run --scenario csi-prediction --agent {name}
```
{more}
```{{eval-rst}}
.. {directive}:: {path}
```
"""


def agent_page(name: str, summary: str) -> str:
    """A page about an agent, made from its docstrings."""
    target, _ = registry.entries[name]
    path = target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"
    path = path.replace(":", ".")
    pages = [page for room, page in ABOUT.items() if path.startswith(f"{room}.")]
    more = "".join(f"\nWhat it is and what it measured: [{it}](../{it}.md).\n" for it in pages)
    kind = "autoclass" if isinstance(registry.find(name), type) else "autofunction"
    summary = summary[0].upper() + summary[1:]
    return PAGE.format(name=name, summary=summary, more=more, directive=kind, path=path)


def write_agent_pages(*_: Any) -> None:
    """A page each into ``docs/agents/each``; those that are as they were are left alone."""
    own = {n: line for n, line in owo_agents.names().items() if n not in registry.packages}
    pages = {f"{name}.md": agent_page(name, line) for name, line in own.items()}
    EACH.mkdir(exist_ok=True)
    for old in EACH.glob("*.md"):
        if old.name not in pages:
            old.unlink()
    for file, text in pages.items():
        if not (EACH / file).exists() or (EACH / file).read_text(encoding="utf-8") != text:
            (EACH / file).write_text(text, encoding="utf-8")


def link_names(app: Sphinx, doctree: nodes.document) -> None:
    """`owo_env.regret.certify` in a text leads to its entry; a name that has none is an error."""
    for literal in list(doctree.findall(nodes.literal)):
        name, inside = literal.astext(), literal.parent
        if not NAME.fullmatch(name) or isinstance(inside, nodes.reference | addnodes.pending_xref):
            continue
        link = addnodes.pending_xref(
            "", literal.deepcopy(), refdomain="py", reftype="obj", reftarget=name, refwarn=True
        )
        link["refdoc"] = app.env.docname
        link.source, link.line = literal.source or doctree.get("source"), literal.line
        literal.replace_self(link)


def find_by_last_name(app: Sphinx, env: Any, node: Any, inner: nodes.Element) -> Any:
    """Docstrings name a thing as their module does; its entry may bear a longer or other path."""
    if node.get("refdomain") != "py":
        return None
    objects = env.domains.python_domain.objects
    target = node["reftarget"]
    if target.startswith("owo_") and pydoc.locate(target) is None:
        return None
    ends = "." + (target.rpartition(".")[2] if target.startswith("owo_") else target)
    named = {name: (o.docname, o.node_id) for name, o in objects.items() if name.endswith(ends)}
    if len(set(named.values())) > 1:  # those of the module that speaks
        named = {n: at for n, at in named.items() if n.startswith(f"{node.get('py:module')}.")}
    if len(set(named.values())) != 1:
        return None
    docname, anchor = next(iter(named.values()))
    return make_refnode(app.builder, node["refdoc"], docname, anchor, inner, target)


def load_public(*_: Any) -> None:
    """What a package imports when it is first asked for, autodoc would not see."""
    for package in (owo_env, owo_agents):
        for name in package.__all__:
            setattr(package, name, getattr(package, name))


def as_written(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: Any) -> None:
    """Docstrings are plain: |y − θᵀx| and (*batch, K) mean themselves, and ## is a heading."""
    for i, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [part.replace("|", r"\|").replace("(*", r"(\*") for part in parts[::2]]
        lines[i] = re.sub(r"^## (.*)", r".. rubric:: \1\n", "``".join(parts))
    if what in ("attribute", "data", "property") and lines:
        # Napoleon takes what stands before a colon in the first line for the type.
        lines[0] = lines[0].replace(": ", ":\n", 1)
    lines[:] = "\n".join(lines).split("\n")


def plain_types(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, arguments: Any, returns: Any
) -> tuple[Any, Any]:
    """Types of arrays as the code has them, which Python writes out."""

    def plain(text: str | None) -> str | None:
        text = text and text.replace(LIKE, "ArrayLike")
        return text and re.sub(ARRAY, r"NDArray[\1]", text)

    return plain(arguments), plain(returns)


def inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", write_agent_pages)
    app.connect("config-inited", load_public)
    app.connect("doctree-read", link_names)
    app.connect("missing-reference", find_by_last_name)
    app.connect("autodoc-process-docstring", as_written, priority=400)  # before Napoleon
    app.connect("autodoc-process-signature", plain_types)
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
