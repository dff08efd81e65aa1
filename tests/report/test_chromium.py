"""The reports in a browser: no complaints, every figure drawn, light and dark, and on paper."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from synthetic_arms import make_comparison
from synthetic_rates import make_map
from synthetic_runs import make_run

from thalweg.evidence import answers
from thalweg.evidence.comparing import comparison_answers
from thalweg.evidence.rate_map import rate_answers
from thalweg.report.comparison import render_comparison
from thalweg.report.html import render_report, write_report
from thalweg.report.pictures import paint
from thalweg.report.rates import render_rates


def study_page() -> str:
    records, summary = make_run(num_trials=60)
    return render_report(records, summary, answers(records, summary))


def comparison_page() -> str:
    effects = {"adam · x": 0.0, "adam · y": -0.02, "sgd · x": -0.03, "sgd · y": -0.01}
    records, summary = make_comparison(effects, over=("optimizer", "schedule"))
    return render_comparison(records, summary, comparison_answers(records, summary))


def rates_page() -> str:
    records, summary = make_map(
        {("adam", "plain"): -1.5, ("adam", "clipping"): -1.0, ("sgd", "plain"): -0.5}
    )
    return render_rates(records, summary, rate_answers(records, summary))


PAGES = {"study": study_page, "comparison": comparison_page, "rates": rates_page}


def chromium(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open a page in headless Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on this machine")
    return subprocess.run(
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={path.parent / 'profile'}", *options, path.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip


def in_chromium(path: Path, *options: str) -> tuple[str, str]:
    """Return the page as Chromium leaves it, and what it complained about."""
    done = chromium(path, *options, "--dump-dom")
    return done.stdout, done.stderr


# Asking for a size makes the browser lay the whole page out before the clock is read.
TIMED = (
    "<script>addEventListener('load',()=>{document.body.getBoundingClientRect();"
    "document.title='loaded in '+Math.round(performance.now())})</script>"
)
MEASURED = (
    "<script>addEventListener('load',()=>{const all=[...document.querySelectorAll('svg')];"
    "const none=all.filter(s=>s.getBoundingClientRect().height<8);"
    "const wide=document.documentElement.scrollWidth>document.documentElement.clientWidth;"
    "document.title=all.length+' drawn, '+none.length+' empty, wide '+wide+', paper '"
    "+getComputedStyle(document.body).backgroundColor})</script>"
)


def test_a_thousand_trials_open_in_two_seconds_and_ten_megabytes(tmp_path: Path) -> None:
    records, summary = make_run(num_trials=1000)
    page = render_report(records, summary, answers(records, summary))
    assert len(page.encode()) < 10e6
    path = tmp_path / "report.html"
    path.write_text(page.replace("</head>", f"{TIMED}</head>", 1), encoding="utf-8")
    # The best of a few: other tests keep the cores busy, and the page is what is measured.
    taken = []
    for _ in range(3):
        shown, complaints = in_chromium(path)
        assert "CONSOLE" not in complaints
        found = re.search(r"<title>loaded in (\d+)", shown)
        assert found is not None
        taken.append(int(found[1]))
    assert min(taken) < 2000, taken


@pytest.mark.parametrize("make", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_drawing_has_a_size_in_both_schemes(
    scheme: str, make: Callable[[], str], tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(make().replace("</head>", f"{MEASURED}</head>", 1), encoding="utf-8")
    dark = ("--blink-settings=preferredColorScheme=0",) if scheme == "dark" else ()
    shown, complaints = in_chromium(path, "--window-size=1200,900", *dark)
    assert "CONSOLE" not in complaints
    paper = "rgb(20, 23, 26)" if scheme == "dark" else "rgb(252, 252, 250)"
    found = re.search(r"<title>(\d+) drawn, 0 empty, wide false, paper ([^<]*)", shown)
    assert found is not None
    assert int(found[1]) > 0
    assert found[2] == paper


@pytest.mark.parametrize("make", PAGES.values(), ids=PAGES)
def test_it_fits_a_narrow_screen(make: Callable[[], str], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(make().replace("</head>", f"{MEASURED}</head>", 1), encoding="utf-8")
    shown, _ = in_chromium(path, "--window-size=500,900")
    # Tables and figures scroll in their own frames; the page itself does not.
    assert "wide false" in shown


@pytest.mark.parametrize("make", PAGES.values(), ids=PAGES)
def test_it_prints(make: Callable[[], str], tmp_path: Path) -> None:
    path, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    path.write_text(make(), encoding="utf-8")
    chromium(path, f"--print-to-pdf={pdf}", "--no-pdf-header-footer")
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))
    assert 1 <= pages <= 40


def test_chromium_opens_it_without_complaint(tmp_path: Path) -> None:
    records, summary = make_run(num_trials=60)
    summary["pictures"] = [{"name": "inputs", "title": "Inputs", "caption": "", "alt": "noise"}]
    picture = paint("photos", {"images": [[np.zeros((8, 8, 3), np.uint8)]]})
    found = answers(records, summary)
    path = write_report(tmp_path / "report.html", records, summary, found, {"inputs": picture})
    shown, complaints = in_chromium(path)
    assert "CONSOLE" not in complaints
    assert 'alt="noise"' in shown
    # The script ran: headings of the table became buttons, rows beyond the first are folded.
    assert '<th scope="col"><button type="button">structure' in shown
    assert "sortable folded" in shown
