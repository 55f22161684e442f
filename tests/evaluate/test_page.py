"""Pages fit a window of 1200 pixels, as a browser lays them out."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glocal.evaluate.report.comparison import write_comparison
from glocal.evaluate.report.diagnosis import write_diagnosis
from glocal.evaluate.report.page import table_html, write_page
from glocal.evaluate.scores import PUSHT
from tests.evaluate.test_comparison import cells

LINKS = ("decouple", "infer_noise", "imagine", "bptt")
WIDTH = 1200


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not shutil.which("chromedriver"):
        pytest.skip("there is no Chromium with its driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-sync"):
        options.add_argument(f"--{flag}")
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as made:
        metrics = {"width": WIDTH, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        made.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield made


def width(browser: Any, page: Path) -> int:
    """Pixels that a page takes from left to right in the window, its widest part included."""
    browser.get(page.as_uri())
    assert browser.execute_script("return window.innerWidth") == WIDTH
    return browser.execute_script(
        "return Math.max(document.documentElement.scrollWidth,"
        " ...[...document.querySelectorAll('table, img')].map(part => part.getBoundingClientRect().right))"
    )


def test_a_comparison_of_many_methods_fits(browser, tmp_path):
    names = ("decouple", "infer_noise", "decouple-warm", "ppo-same", "cloning-best", "studies/decouple_matched")
    write_comparison(tmp_path, cells(**{name: (18, 9, 12, 20, 0) for name in names}), 20, PUSHT)
    assert width(browser, tmp_path / "comparison.html") <= WIDTH


def test_a_diagnosis_fits(browser, tmp_path):
    shown = {"cosine": -0.25, "low": -0.35, "high": -0.15, "bptt_cosine": -0.25, "norm_ratio": 1, "signal_to_noise": 2}
    drift = {str(h): {"block_px": 12.3, "angle_rad": 0.123} for h in (1, 2, 4, 8, 12, 16, 20)}
    check = {"name": "follows actions: error with mirrored ones over that with true ones", "found": 1, "at_least": 2}
    found = {
        "gradients": {str(h): dict.fromkeys(LINKS, shown) for h in (4, 8, 16, 32, 64)},
        "recommended_horizon": {"horizon": 8, "trained_with": 8, "why": "the cosine falls beyond it"},
        "model": {
            "drift": dict.fromkeys(("true", "shuffled", "zero", "mirrored", "nothing moves"), drift),
            "checks": [check | {"ok": False}],
            "reward": {"bins": [[0.1, 0.2], [0.5, 0.4]]},
        },
    }
    write_diagnosis(tmp_path, found)
    assert width(browser, tmp_path / "diagnosis.html") <= WIDTH


def test_a_table_fits_whatever_stands_in_it(browser, tmp_path):
    rows = [["/a/folder/with_a_name_that_does_not_end" * 4, *["12/20 [0.38, 0.78]"] * 9]] * 2
    write_page(tmp_path / "page.html", "Page", table_html(["", *["a head of several words"] * 9], rows))
    assert width(browser, tmp_path / "page.html") <= WIDTH


def test_intervals_are_not_broken():
    assert "<td>1/2 <span>[0.38, 0.78]</span>, p 1</td>" in table_html([""], [["1/2 [0.38, 0.78], p 1"]])
    assert "<td>[a, b] &lt;</td>" in table_html([""], [["[a, b] <"]])
