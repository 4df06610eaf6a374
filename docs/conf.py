"""The documentation site; ``make docs`` builds it.

The source folder is the repository, so that a relative link means the same here and on a forge.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "airan-fairmtl"
author = "airan-fairmtl contributors"
copyright = author
root_doc = "docs/index"
include_patterns = ["docs/**", "notebooks/*.ipynb", "CONTRIBUTING.md", "CHANGELOG.md"]
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "house",
]

# Markdown as forges read it: $ is mathematics, and headings are anchors by GitHub's rule.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
smartquotes_action = "D"  # dashes only
nb_execution_mode = "off"  # notebooks carry their outputs; make test runs them

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # what a base says is said there
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

nitpicky = True
nitpick_ignore_regex = [
    # Other people's, whose pages a build without a network cannot ask.
    (
        "py:.*",
        r"(collections|google|grpc|gym|gymnasium|joblib|matplotlib|nn|np|numpy|os|pathlib|ray|rich|"
        r"stable_baselines3|torch|torchjd|typing|typing_extensions)\..*",
    ),
    ("py:class", r"ArrayLike|Axes|NDArray|Dataset|Tensor|Aggregator|Scalarizer"),
    ("py:class", r".*\.Draw|Collate|Each|.*\.T|T|A|Best"),  # type aliases and variables
]

templates_path = ["templates"]
html_additional_pages = {"index": "home.html"}
html_theme = "furo"
html_title = project
html_show_sphinx = False
html_copy_source = False
html_math_renderer = "mathml"
