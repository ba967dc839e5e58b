"""The panel in headless Chromium: pages, clicks, keys, and a whole blinded evaluation on the simulated cell.

Real processes over loopback. $TACTUS is the program; where $PICTURES names a folder, what was seen is kept there.
"""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from browser import PROGRAM, Browser, wait
from cells import CHECKOUT, TACTUS, Process, cell_file, free_port, start_panel

PICTURES = os.environ.get("PICTURES")
SIZES = {"wide": (1280, 800, False), "landscape": (1024, 768, True), "portrait": (768, 1024, True)}

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium here")


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("panel")
    cell, endpoint = cell_file(folder), f"tcp/127.0.0.1:{free_port()}"
    run = Process(folder / "run.log", "run", cell, "--listen", endpoint)
    time.sleep(3)
    panel, url = start_panel(folder, cell, endpoint)
    yield url
    panel.end()
    run.end()


def word(page, expected, within=30):
    page.until(f"document.querySelector('#mode-word').innerText === {expected!r}", f"the mode is {expected}", within)


def keep(page, name):
    if PICTURES:
        page.picture(Path(PICTURES) / f"{name}.png")


def test_the_page_shows_the_cell_and_takes_nothing_from_elsewhere(browser, url):
    page = browser.page(url)
    word(page, "BOOT")
    page.until("[...document.querySelectorAll('.camera > .frame > img:first-child')].filter(i => i.naturalWidth > 0).length === 2", "both cameras are seen")
    page.until("document.querySelectorAll('#pose polyline').length > 2", "the arm is drawn")
    assert page.js("document.querySelectorAll('#roles li').length") == 5
    assert "gone" not in page.text("#roles")
    assert page.js("performance.getEntriesByType('resource').every(r => r.name.startsWith(location.origin))")
    assert page.errors == []
    page.close()


def test_an_operator_by_mouse_and_keyboard(browser, url):
    page = browser.page(url)
    word(page, "BOOT")
    page.click("[data-do=enable]")
    word(page, "READY")
    page.key("i")
    page.type("pick up the red cube")
    page.key(" ")
    assert page.text("#mode-word") == "READY", "space in a text is no hold"
    page.key("Enter")
    word(page, "POLICY")
    page.until("document.querySelectorAll('.stage').length === 13 && document.querySelector('#sum').innerText.includes(' of ')", "stages are shown")
    time.sleep(2)
    for name, (width, height, touch) in SIZES.items():
        page.resize(width, height, touch)
        time.sleep(0.6)
        keep(page, f"panel-{name}")
        assert page.js("document.documentElement.scrollWidth <= innerWidth"), f"{name}: wider than the screen"
        x, y, w, h = page.js("(({x, y, width, height}) => [x, y, width, height])(document.querySelector('[data-do=hold]').getBoundingClientRect())")
        assert y >= 0 and y + h <= height and x + w <= width and h >= 44, f"{name}: hold is not on the screen"
    page.resize(*SIZES["wide"])
    page.key(" ")
    word(page, "HOLD")
    page.until("document.querySelector('#ladder [aria-current]').innerText.includes('hold')", "the ladder says so")
    assert page.text("#reason")
    keep(page, "panel-hold")
    page.key("f")
    page.key("4")
    page.key("n")
    page.type("it was held")
    page.key("Enter")
    page.until("document.querySelector('#tally').innerText.includes('1\u2717')", "the score counts")
    assert not page.shown("#trial")

    # An Enter too many is not a take-over.
    page.key("Enter")
    time.sleep(2.2)
    assert page.text("#mode-word") == "HOLD"
    page.key("Enter")
    word(page, "BY HAND")
    page.until("!document.querySelector('#jog').hidden", "the keys are shown")
    before = page.text("#joints")
    page.key("e", hold=1.2)
    page.until(f"document.querySelector('#joints').innerText !== {before!r}", "a key moves the arm", 5)
    keep(page, "panel-hand")
    page.key(" ")
    word(page, "HOLD")

    # A reference over the live picture.
    page.click(".camera button")
    page.until("document.querySelector('.reference').naturalWidth > 0 && !document.querySelector('.reference').hidden", "the reference is shown")
    page.key("x")
    word(page, "STOPPED")
    assert page.errors == []
    page.close()


PLAN = """schema = 1
name = "Which is better?"
cell = "{cell}"
seed = 5
trials = 2
score = "operator"

[stop]
rule = "fixed"

[[policy]]
name = "the-good-one"
bundle = "{good}"

[[policy]]
name = "the-noisy-one"
bundle = "{noisy}"

[[task]]
name = "pick"
instruction = "pick up the red cube"
time_limit_s = 20.0
milestones = ["touched", "lifted"]
start = {{ pictures = ["one.jpg", "two.jpg"] }}
"""


def test_a_blinded_evaluation_from_the_page(browser, tmp_path):
    noisy = tmp_path / "noisy"
    subprocess.run([TACTUS, "bundle", "degrade", CHECKOUT / "models/demo/bundle", "--noise", "0.3", "--out", noisy], check=True, capture_output=True)
    cell = cell_file(tmp_path)
    for seed, name in enumerate(("one.jpg", "two.jpg")):
        subprocess.run([TACTUS, "sim", "portrait", "--camera", "scene", "--seed", str(seed + 5), "--out", tmp_path / name], check=True, capture_output=True)
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN.format(cell=cell, good=CHECKOUT / "models/demo/bundle", noisy=noisy))
    endpoint = f"tcp/127.0.0.1:{free_port()}"
    evaluation = Process(tmp_path / "eval.log", "eval", "run", plan, "--dir", tmp_path / "results", "--listen", endpoint)
    log = tmp_path / "eval.log"
    wait(lambda: "panel:" in log.read_text(), "the evaluation says where it is", 30)
    panel, url = start_panel(tmp_path, cell, endpoint)
    try:
        page = browser.page(url)
        labels = []
        for trial in range(4):
            page.until(f"document.querySelector('#trial-where').innerText.includes('trial {trial + 1} of 4: set the scene up')", f"trial {trial + 1} waits", 90)
            labels.append(page.text("#trial-label"))
            everything = page.js("document.documentElement.outerHTML")
            assert "good-one" not in everything and "noisy-one" not in everything, "not blinded"
            page.until("document.querySelector('.reference').naturalWidth > 0", "the scene's picture lies over the camera")
            if trial == 0:
                keep(page, "panel-setup")
            page.key("r")
            page.until("document.querySelector('#trial-where').innerText.includes('running')", "it runs")
            word(page, "POLICY")
            time.sleep(2)
            if trial == 1:
                # The set-up was wrong: it does not count, and comes again.
                page.js("document.querySelector('#exclude').open = true")
                page.click("[data-do=exclude-setup]")
                page.until("document.querySelector('#trial-task').innerText.includes('Attempt 2')", "the trial comes again", 90)
                page.until("document.querySelector('#trial-where').innerText.includes('set the scene up')", "it waits", 90)
                page.key("r")
                page.until("document.querySelector('#trial-where').innerText.includes('running')", "it runs")
            if trial % 2 == 0:
                page.key("s")
            else:
                page.click("[data-do=failure]")
                page.key("6")
                page.key("m")
                page.key("n")
                page.type("let go of it")
                page.key("Escape")
            page.until("document.querySelector('#trial-where').innerText.includes('how did it go')", "the score is asked for")
            if trial == 1:
                keep(page, "panel-score")
            page.key("Enter")
        page.until("document.querySelector('#trial-label').innerText === 'Done'", "all trials are done", 60)
        keep(page, "panel-done")
        assert set(labels) == {"Policy A", "Policy B"}
        assert evaluation.process.wait(30) == 0, log.read_text()
        assert page.errors == []
        page.close()
    finally:
        panel.end()
        evaluation.end()
    lines = [json.loads(line) for line in (tmp_path / "results/trials.jsonl").read_text().splitlines()]
    entries = [line.get("entry", line) for line in lines]
    ended = [entry for entry in entries if entry.get("kind") == "ended"]
    assert len(ended) == 5 and all(e["judge"] == "operator" for e in ended)
    assert [e["abort"] for e in ended] == [None, "setup_error", "operator_stop", None, "operator_stop"]
    failures = [e for e in ended if e["abort"] == "operator_stop"]
    assert all(e["progress"] == 60 and e["milestones"] == ["touched"] and e["note"] == "let go of it" for e in failures)
    assert entries[0]["mode"] == "operator"
    assert (tmp_path / "results/report.html").stat().st_size > 5000
