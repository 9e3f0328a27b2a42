"""Open every page of the built documentation in a real browser, on a desktop and on a telephone.

    python tests/browser/check_site.py SITE [--pictures FOLDER]

SITE is the folder that Sphinx made. Fails if the browser complains of anything, if a page asks for
anything outside of the site, if it is wider than the window, if a picture or a formula is not
shown, or if code is cut off, on a desktop wider than the page, lies under its button or has none;
and if a page that does such things is not noticed. The browser has no network.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from chromium import Browser

SIZES = {"desktop": (1200, 900, 1.0, False), "telephone": (390, 844, 2.0, True)}
UNSEEN = """
[...document.querySelectorAll('main img, article img')].filter(i => !i.naturalWidth)
    .map(i => 'picture ' + i.src).concat(
[...document.querySelectorAll('math')].filter(m =>
    m.checkVisibility() && m.getBoundingClientRect().height < 5)
    .map(m => 'formula ' + m.textContent)).join(', ')
"""
FONT = """
!document.querySelector('math') || [...document.fonts].some(
    f => f.family.includes('Formulas') && f.status == 'loaded')
"""
CODE = """
[...document.querySelectorAll('div.highlight > pre')].map(pre => {
    const button = pre.parentElement.querySelector('button.copy');
    if (pre.scrollWidth > pre.clientWidth + 1 &&
        !['auto', 'scroll'].includes(getComputedStyle(pre).overflowX)) return ['cut off', pre];
    if (innerWidth >= 1200 && pre.scrollWidth > pre.clientWidth + 1 &&
        !pre.closest('div.output')) return ['wider than the page', pre];
    if (!button) return ['without a button', pre];
    const above = button.getBoundingClientRect().bottom <= pre.getBoundingClientRect().top + 1;
    if (matchMedia('(hover: none)').matches && pre.checkVisibility() && !above)
        return ['under its button', pre];
    if (/^(>>>|\\$) /m.test(typed(pre))) return ['copied with its prompts', pre];
}).filter(Boolean).map(([what, pre]) => `code ${what}: ${pre.textContent.slice(0, 30)}`).join(', ')
"""


def check(browser: Browser, page: Path, site: Path, width: int) -> list[str]:
    """Open a page; return what is wrong with it."""
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(page)
    browser.ask("Runtime.evaluate", expression="document.fonts.ready", awaitPromise=True)
    wrong = []
    needed = browser.value("document.documentElement.scrollWidth")
    if needed > width:
        wrong.append(f"{needed} pixels wide; expected at most {width}")
    unseen = browser.value(UNSEEN)
    if unseen:
        wrong.append(f"not shown: {unseen}")
    if code := browser.value(CODE):
        wrong.append(code)
    if not browser.value(FONT):
        wrong.append("the font of the formulas is not loaded")
    inside = (site.as_uri(), "data:")
    outside = [url for url in dict.fromkeys(browser.requests) if not url.startswith(inside)]
    return wrong + [f"it asks for {url}" for url in outside] + browser.complaints


def make_bad_page(folder: Path) -> Path:
    """Write a page with all that `check` looks for."""
    page = folder / "bad.html"
    page.write_text(
        "<!DOCTYPE html><title>bad</title><main><div style='width:2000px'>wide</div>"
        "<img src='https://example.org/outside.png'><math></math></main>"
        "<div class='highlight'><pre style='width:3em;overflow:hidden'>a line of code</pre></div>"
        "<div class='highlight'><pre>code</pre></div>"
        "<script>console.error('loud')</script>"
    )
    return page


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("site", type=Path)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    site = arguments.site.resolve()
    pages = sorted(
        page
        for page in site.rglob("*.html")
        if "_modules" not in page.relative_to(site).parts
        and page != site / "index.html"  # which only leads on to the first one
    )
    if not any(page.name == "bptt.html" for page in pages):
        sys.exit(f"{site} is not the built documentation")
    failed = False
    for size, (width, *rest) in SIZES.items():
        with Browser(seconds=300) as browser, tempfile.TemporaryDirectory() as name:
            browser.resize(width, *rest)
            for page in pages:
                wrong = check(browser, page, site, width)
                if wrong:
                    failed = True
                    print(f"{page.relative_to(site)} on a {size}: {'; '.join(wrong)}")
                if arguments.pictures:
                    arguments.pictures.mkdir(parents=True, exist_ok=True)
                    browser.screenshot(arguments.pictures / f"{page.stem}_{size}.png")
            bad = Path(name).resolve()
            wrong = check(browser, make_bad_page(bad), bad, width)
            for sign in (
                "pixels wide",
                "picture",
                "formula",
                "font",
                "it asks for",
                "loud",
                "cut off",
                "without",
            ):
                if not any(sign in each for each in wrong):
                    failed = True
                    print(f"a bad page is not noticed: {sign} is not in {wrong}")
        print(f"{len(pages)} pages on a {size}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
