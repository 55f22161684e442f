"""`glocal play`: a person drives a model from a browser, and what was recorded is a dataset."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from websockets.sync.client import connect

from glocal.cli import main
from glocal.data.formats import open_dataset
from glocal.deploy.play.game import Wish
from glocal.deploy.play.messages import PlayConfig
from glocal.deploy.play.sessions import Sessions
from glocal.pipeline import play
from glocal.pipeline.game import about, game
from glocal.pipeline.run import open_run
from glocal.runtime.files import UserError
from glocal.tasks.robot import begin, make
from tests.deploy.served import pushed_game, serving
from tests.refusals import refused
from tests.robots import ID, robot_logs

ONE = ("--threads", "1", "--processes", "1")


@pytest.mark.skipif(not shutil.which("chromedriver"), reason="there is no Chromium with its driver")
def test_a_drag_in_a_browser_moves_the_block_on_both_sides(tmp_path):
    from selenium import webdriver
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-sync"):
        options.add_argument(f"--{flag}")
    options.add_argument("--window-size=1200,1000")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with serving(pushed_game(), PlayConfig(fps=10)) as server, webdriver.Chrome(options, service) as browser:
        browser.get(server.address)
        wait = WebDriverWait(browser, 60)

        def shown(name: str) -> np.ndarray:
            browser.find_element(By.ID, name).screenshot(str(tmp_path / "shown.png"))
            return np.asarray(Image.open(tmp_path / "shown.png").convert("RGB")).astype(int)

        def said(what: str) -> Any:
            return browser.execute_script(f"return last && last.{what}")

        wait.until(lambda _: (said("step") or 0) > 3 and said("real.picture"))
        before = {name: shown(name) for name in ("imagined", "real")}
        corners, real = said("numbers.keypoints"), said("real.numbers.keypoints")
        canvas = browser.find_element(By.ID, "imagined")
        drag = ActionChains(browser).move_to_element_with_offset(canvas, 0, 180).click_and_hold()
        drag.move_to_element_with_offset(canvas, 0, -60).perform()
        wait.until(lambda _: said("numbers.agent")[1] < 230)
        ActionChains(browser).release().perform()
        assert np.mean(said("numbers.keypoints")[1::2]) < np.mean(corners[1::2]) - 50
        assert np.mean(said("real.numbers.keypoints")[1::2]) < np.mean(real[1::2]) - 20
        for name, picture in before.items():
            moved = np.abs(shown(name) - picture).max(-1) > 60
            assert 0.01 < moved.mean() < 0.5, name
        browser.find_element(By.TAG_NAME, "body").send_keys("]")
        wait.until(lambda _: said("start") == 1 and said("numbers.agent") == [60, 60])
        browser.find_element(By.TAG_NAME, "body").send_keys("r")
        wait.until(lambda _: said("recorded") > 2 and "recorded" in browser.find_element(By.ID, "status").text)
        browser.find_element(By.TAG_NAME, "body").send_keys("r")

        def pad(right: float, *pressed: int) -> None:
            buttons = [{"pressed": i in pressed} for i in range(4)]
            browser.execute_script("window.plugged = arguments[0]", {"axes": [right, 0.1, 0, 0], "buttons": buttons})

        browser.execute_script(
            "navigator.getGamepads = () => [null, window.plugged ?? null]"
        )  # as one that is plugged in
        pad(1)
        wait.until(lambda _: said("numbers.agent")[0] > 200)
        assert said("numbers.agent")[1] == 60  # a stick that is hardly moved is at rest
        pad(0)
        there = said("step")
        pad(0, 1)
        wait.until(lambda _: said("step") < there and said("numbers.agent") == [60, 60])
        pad(0, 2)
        wait.until(lambda _: said("recorded") > 2)
        errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert not errors
    assert len(server.kept) == 2


@pytest.fixture(scope="module")
def pushing(tmp_path_factory) -> Path:
    """A run of a robot on Push-T that sees pictures."""
    run = tmp_path_factory.mktemp("pushing") / "run"
    main(["collect", "pusht-debug", "--run", str(run), *ONE])
    return trained(run, "codec", "global", "local", "policy")


@pytest.fixture(scope="module")
def acting(tmp_path_factory) -> Path:
    """A run of a robot of numbers with an environment, whose global model is all that is trained."""
    folder = tmp_path_factory.mktemp("acting")
    logs, run = robot_logs(folder / "logs"), folder / "run"
    main(["collect", "robot-debug", "--logs", str(logs), "--run", str(run), "--env", ID, *ONE])
    return trained(run, "codec", "global")


def trained(run: Path, *stages: str) -> Path:
    for stage in stages:
        main(["train", stage, str(run), *ONE])
    return run


@contextmanager
def playing(run: Path, *options: str) -> Iterator[str]:
    """The address of the page, while `glocal play` is running; it is ended by Ctrl-C."""
    command = [sys.executable, "-m", "glocal", "play", str(run), "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}) as process:
        assert process.stderr is not None
        try:
            yield next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
        finally:
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
    assert process.returncode == 0, said


def test_what_is_played_is_recorded_as_a_dataset(pushing, tmp_path):
    with playing(pushing, "--record", str(tmp_path / "played"), "--fps", "20") as address:
        host, token = address.removeprefix("http://").split("/?token=")
        with connect(f"ws://{host}/play?token={token}", origin=f"http://{host}") as session:  # pyright: ignore
            told = json.loads(session.recv())["about"]
            assert told["policy"] and told["records"] and told["real"]
            first = next(i for i, label in enumerate(told["starts"]) if "control step 0" in label)
            session.send(json.dumps({"n": 1, "start": first, "record": True, "real": True, "policy": True}))
            frames = [json.loads(session.recv()) for _ in range(12)]
    heard = [frame for frame in frames if frame["n"] == 1]
    assert heard[0]["picture"].startswith("data:image/jpeg") and heard[0]["real"]["picture"].startswith("data:image")
    assert np.allclose(heard[0]["numbers"]["agent"], heard[0]["real"]["numbers"]["agent"], atol=1)
    dataset = open_dataset(tmp_path / "played")
    rows = dataset.episode(0, ["observation.image", "observation.state", "action", "next.reward"])
    assert len(dataset) == 1 and 5 <= len(rows["action"]) <= 20 and rows["observation.image"].shape[1:] == (64, 64, 3)
    assert np.allclose(rows["observation.state"][0], heard[0]["numbers"]["agent"], rtol=1e-3)
    done = np.array([frame["reward"] for frame in heard[1:]])
    assert np.allclose(rows["next.reward"][: len(done), 0], done, atol=1e-3)
    assert not (tmp_path / "played.recordings").exists()


def test_the_environment_of_a_robot_begins_beside_the_model_in_its_own_initial_states(acting):
    known = open_run(acting)
    made = game(known, real=1)
    own = next(i for i, start in enumerate(made.starts) if start.seed is not None)
    frame = Sessions(made).step({0: Wish(1, own, real=True)})[0][0]
    seen = begin(make(ID), made.starts[own].seed or 0)
    assert frame.real is not None and frame.picture is None
    for name in ("state", "goal"):
        assert np.allclose(frame.numbers[name], seen[name], atol=1e-3)
        assert np.allclose(frame.real.numbers[name], seen[name])
    told = about(known, made, records=False, fps=10)
    assert [one["rest"] is None for one in told["actions"]] == [False, False, False, True]
    assert told["first"] == own and not told["policy"]


def test_what_was_kept_by_a_server_that_was_killed_is_written_by_the_next(pushing, tmp_path):
    known = open_run(pushing)
    sessions, spool = Sessions(game(known, real=0)), play._spool(known, tmp_path / "played")
    for record in (True, True, True, False):
        _, finished = sessions.step({0: Wish(1, action=(1.0, 0.0), record=record)})
    for one in finished:
        assert spool.add(one)
    again = play._spool(known, tmp_path / "played")
    assert "1 recordings" in play.written(known, again, tmp_path / "played")
    assert len(open_dataset(tmp_path / "played")) == 1


def test_what_cannot_be_served_is_said_in_a_sentence(acting, pushing, tmp_path, monkeypatch, capsys):
    with pytest.raises(UserError, match="--names"):
        play._listening("0.0.0.0", 0, ())
    taken, _ = play._listening("127.0.0.1", 0, ())
    with pytest.raises(UserError, match="cannot listen"):
        play._listening("127.0.0.1", taken.getsockname()[1], ())
    taken.close()
    assert "global model" in refused(capsys, "play", _untrained(acting, tmp_path))
    (tmp_path / "there").mkdir()
    assert "exists" in refused(capsys, "play", pushing, "--record", tmp_path / "there")
    monkeypatch.setattr(play, "find_spec", lambda name: None if name == "uvicorn" else name)
    assert "glocal[play]" in refused(capsys, "play", pushing)


def _untrained(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder / "untrained", ignore=shutil.ignore_patterns("global"))
    return folder / "untrained"
