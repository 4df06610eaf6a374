"""The site as it was built, in a real browser: its search finds, and a phone is wide enough."""

import json

import pytest
from places import REPOSITORY

SITE = REPOSITORY / "build" / "docs"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SITE.exists(), reason="there is no site: make docs"),
]

SEARCH = """
setTimeout(() => {
  const links = [...document.querySelectorAll("#search-results li > a")];
  document.title = JSON.stringify([window.seen, links.map((link) => link.getAttribute("href"))]);
}, 2000);
"""


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("owo_agents.bench", "docs/reference/owo_agents.html#owo_agents.bench"),
        ("dual weights", "docs/reference/mathematics.html"),
        ("AIRANVectorEnv", "docs/reference/owo_env.html#owo_env.AIRANVectorEnv"),
        ("doppler", "docs/scenarios/csi-prediction.html"),
    ],
)
def test_search_finds_names_and_pages(browser, words, page):
    errors, links = browser.site(SITE, f"search.html?q={words.replace(' ', '+')}", SEARCH)
    assert errors == []
    assert any(link.split("?")[0].endswith(page) for link in links[:12]), links


WIDTHS = """
const pages = %s, found = {};
const frame = document.body.appendChild(document.createElement("iframe"));
frame.style.cssText = "width: 390px; height: 800px; border: 0";
const next = () => {
  const page = pages.pop();
  if (!page) { document.title = JSON.stringify([window.seen, found]); return; }
  frame.onload = () => {
    found[page] = frame.contentDocument.documentElement.scrollWidth;
    next();
  };
  frame.src = page;
};
next();
"""


def test_the_largest_page_of_each_folder_is_no_wider_than_a_phone(browser):
    pages = sorted(SITE.glob("**/*.html"), key=lambda page: page.stat().st_size)
    largest = {page.parent: str(page.relative_to(SITE)) for page in pages}
    shown = [page for page in largest.values() if not page.startswith("_")]
    errors, widths = browser.site(SITE, "search.html", WIDTHS % json.dumps(shown))
    assert errors == [] and len(widths) == len(shown) >= 8
    assert {page: width for page, width in widths.items() if width > 390} == {}
