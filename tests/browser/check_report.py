"""Make a report and open it in a real browser: by day, by night, on a telephone, on paper.

    python tests/browser/check_report.py [--picture docs/report.png] [--all FOLDER]

Fails if the browser complains of anything, if the page asks for anything outside of itself, if it
is 3 MB or more, if it is wider than a window, if a part of it other than the diagram has to be
scrolled to be seen, if the diagram's text is too small to read, or if a picture has no size; and
if a page that does such things is not noticed. The browser has no network. --picture makes the one
in docs/, --all leaves whole pages of each kind, and the printed one, in a folder.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from chromium import Browser

import fastbptt
from fastbptt.datasets import load_japanese_vowels

LIMIT = 3_000_000
SMALLEST = 9.0  # pixels of the diagram's text
HOSTILE = '"><script>console.log("it ran")</script><img src="https://example.org/x.png">&amp;'


def make_page(folder: Path) -> Path:
    """Train the demo's task for a few seconds and write a page, one class having a hostile name."""
    fastbptt.set_num_threads(1)
    vowels = load_japanese_vowels()
    model = fastbptt.GRU(12, 48, 9, init="keras", seed=0)
    monitor = fastbptt.GradientMonitor(warn=False)
    history = fastbptt.fit(
        model,
        vowels.x_train,
        vowels.y_train,
        epochs=40,
        optimizer=fastbptt.Adam(lr=3e-3),
        clip_norm=1.0,
        validation=0.2,
        metrics="accuracy",
        callbacks=[monitor],
        verbose=0,
    )
    page = folder / "report.html"
    fastbptt.report(
        model,
        vowels.x_test,
        vowels.y_test,
        page,
        history,
        class_names=vowels.class_names,
        feature_names=vowels.feature_names,
        monitor=monitor,
        title="Nine speakers, two vowels",
    )
    return page


def make_hostile_page(folder: Path) -> Path:
    """Write a page about things whose names are code."""
    import numpy as np

    x = np.random.default_rng(0).normal(size=(20, 12, 2))
    y = (x[:, -1, 0] > 0).astype(int)
    model = fastbptt.RNN(2, 8, 2, seed=0)
    model.metadata = {"trained_on": HOSTILE, "settings": {HOSTILE: HOSTILE}}
    page = folder / "hostile.html"
    names = [HOSTILE, f"${HOSTILE}$"]
    fastbptt.report(
        model, x, y, page, class_names=names, feature_names=names, ids=[HOSTILE] * 20, title=HOSTILE
    )
    return page


def make_forecast_page(folder: Path) -> Path:
    """Write a page about forecasts of several series."""
    import numpy as np

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 24, 3)), rng.normal(0.0, 1000.0, size=(60, 18))
    model = fastbptt.LSTM(3, 16, 18, num_layers=2, bidirectional=True, seed=0)
    page = folder / "forecast.html"
    series = [f"measuring station number {i % 30}" for i in range(60)]
    names = ["temperature at noon", "water level in the evening", "flow"]
    fastbptt.report(model, x, y, page, horizon=6, series=series, feature_names=names)
    return page


def make_bad_page(folder: Path) -> Path:
    """Write a page with all that `check` looks for."""
    page = folder / "bad.html"
    page.write_text(
        "<!DOCTYPE html><title>bad</title><div style='width:2000px'>wide</div>"
        "<main><div style='overflow-x:auto'><p style='width:3000px'>half hidden</p></div></main>"
        "<figure class='wide'><svg width='100' viewBox='0 0 200 60'><text y='20' font-size='10'>"
        "tiny</text></svg></figure><img src='https://example.org/outside.png'><script>console.error('loud')</script>"
    )
    return page


def check(browser: Browser, page: Path) -> list[str]:
    """Open a page; return what is wrong with it."""
    wrong = []
    size = page.stat().st_size
    if size >= LIMIT:
        wrong.append(f"{size} bytes; at most {LIMIT} are allowed")
    browser.complaints.clear()
    browser.requests.clear()
    for what, width, phone in (("on a desktop", 1200, False), ("on a telephone", 390, True)):
        browser.resize(width, 900, 2.0 if phone else 1.0, phone)
        browser.open(page)
        needed = browser.value("document.documentElement.scrollWidth")
        if needed > width:
            wrong.append(f"{what} it is {needed} pixels wide; expected at most {width}")
        empty = browser.value(
            "[...document.querySelectorAll('svg')].filter("
            "s => s.getBoundingClientRect().height < 50).length"
        )
        if empty:
            wrong.append(f"{what} {empty} pictures have no height")
        cut = browser.value(
            "[...document.querySelectorAll('main *')].filter(e => !(e instanceof SVGElement) &&"
            " e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX != 'visible' &&"
            " !e.closest('figure.wide'))"
            ".map(e => e.innerText.slice(0, 30)).join(' | ')"
        )
        if cut:
            wrong.append(f"{what} there is more than can be seen of: {cut}")
        small = browser.value(
            "Math.min(99, ...[...document.querySelectorAll('figure.wide svg')].flatMap(s =>"
            " [...s.querySelectorAll('text')].filter(t => t.textContent.trim().length > 3).map(t =>"
            " parseFloat(getComputedStyle(t).fontSize) * s.getScreenCTM().a)))"
        )
        if small < SMALLEST:
            wrong.append(f"{what} the diagram has text of {small:.1f} pixels")
    outside = [
        url for url in browser.requests if url != page.as_uri() and not url.startswith("data:")
    ]
    wrong += [f"it asks for {url}" for url in dict.fromkeys(outside)]
    wrong += browser.complaints
    if not browser.value("document.querySelectorAll('figure svg').length") > 4:
        wrong.append("there are no pictures")
    return wrong


VIEWS = {  # name: colours, width in CSS pixels, pixels for each of them, telephone
    "desktop": ("light", 1200, 1.0, False),
    "dark": ("dark", 1200, 1.0, False),
    "telephone": ("dark", 390, 2.0, True),
}


def look(browser: Browser, page: Path, folder: Path) -> None:
    """Save what is to be seen, from top to bottom."""
    for name, (scheme, width, scale, phone) in VIEWS.items():
        browser.scheme(scheme)
        browser.resize(width, 900, scale, phone)
        browser.open(page)
        height = browser.value("document.documentElement.scrollHeight")
        browser.resize(width, height, scale, phone)
        browser.screenshot(folder / f"{name}.png")
    browser.scheme("light")
    browser.pdf(folder / "report.pdf")


def compose(folder: Path, file: Path) -> None:
    """Put a desktop and two screens of a telephone beside each other."""
    from PIL import Image

    desktop, phone = (Image.open(folder / f"{name}.png") for name in ("desktop", "telephone"))
    high, gap = 1500, 24
    screens = [desktop.crop((0, 0, 1200, high))]
    for top in (0, 2 * high):
        half = phone.crop((0, top, 780, top + 2 * high))
        screens.append(half.resize((390, high), Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (sum(s.width + gap for s in screens) + gap, high + 2 * gap), "#9aa3b2")
    left = gap
    for screen in screens:
        sheet.paste(screen, (left, gap))
        left += screen.width + gap
    few = sheet.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(file, optimize=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    parser.add_argument("--all", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        # before the browser begins, which has a minute
        pages = [make(folder) for make in (make_page, make_hostile_page, make_forecast_page)]
        failed = visit(folder, pages, arguments)
    return int(failed)


def visit(folder: Path, pages: list[Path], arguments: argparse.Namespace) -> bool:
    failed = False
    with Browser() as browser:
        for page in pages:
            wrong = check(browser, page)
            failed |= bool(wrong)
            print(f"{page.name}: {page.stat().st_size} bytes, {'; '.join(wrong) or 'fine'}")
            if page is pages[0] and (arguments.picture or arguments.all):
                look(browser, page, folder)
        wrong = check(browser, make_bad_page(folder))
        for sign in (
            "outside.png",
            "loud",
            "pixels wide",
            "no pictures",
            "of: half",
            "text of 5.0",
        ):
            if not any(sign in each for each in wrong):
                print(f"a bad page is not noticed: {sign} is not in {wrong}")
                failed = True
        if arguments.picture:
            compose(folder, arguments.picture)
        if arguments.all:
            arguments.all.mkdir(parents=True, exist_ok=True)
            for file in (*(f"{view}.png" for view in VIEWS), "report.html", "report.pdf"):
                shutil.copy(folder / file, arguments.all)
    return failed


if __name__ == "__main__":
    sys.exit(main())
