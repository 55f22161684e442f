"""The page on which frames are marked: by the keyboard, in a real browser, and every mark is in the file at once."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError

import numpy as np
import pytest

from glocal.data.rewards.marking import TOKEN, Marks, Server, read_marks
from glocal.runtime.files import UserError

LENGTHS = (4, 30)


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[Server, Path, Thread]]:
    path = tmp_path / "marks.csv"

    def frame(episode: int, number: int) -> np.ndarray:
        return np.full((8, 8, 3), 10 * episode + number, np.uint8)

    with Server(Marks.open(path), LENGTHS, frame, 0) as made:
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made, path, thread
        made.shutdown()
        thread.join()


def ask(server: Server, path: str, body: object = None, **headers: str) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    headers = {TOKEN: server.token, **headers}
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}{path}", data, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


@pytest.mark.skipif(not shutil.which("chromedriver"), reason="there is no Chromium with its driver")
def test_frames_are_marked_by_keys_in_a_browser(server):
    from selenium import webdriver
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    made, path, thread = server
    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-sync"):
        options.add_argument(f"--{flag}")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options, service) as browser:
        browser.get(made.address)
        wait = WebDriverWait(browser, 60)

        def press(key: str, shown: str, where: str = "where", shift: bool = False) -> None:
            keys = ActionChains(browser)
            (keys.key_down(Keys.SHIFT).send_keys(key).key_up(Keys.SHIFT) if shift else keys.send_keys(key)).perform()
            wait.until(lambda _: shown in browser.find_element(By.ID, where).text)

        wait.until(lambda _: "episode 0 of 2, frame 0 of 4" in browser.find_element(By.ID, "where").text)
        wait.until(lambda _: browser.execute_script("return document.getElementById('frame').naturalWidth") == 8)
        press("f", "frame 1 of 4")
        press(Keys.ARROW_DOWN, "episode 1 of 2, frame 0 of 30")
        press(Keys.ARROW_RIGHT, "frame 10 of 30", shift=True)
        press("s", "1 successes and 1 failures", "count")
        press(Keys.ARROW_LEFT, "frame 10 of 30")
        assert browser.find_element(By.ID, "frame").get_attribute("class") == "yes"
        assert read_marks(path) == {(0, 0): False, (1, 10): True}
        press("u", "0 successes and 1 failures", "count")
        press("s", "1 successes and 1 failures", "count")
        ActionChains(browser).send_keys("q").perform()
        wait.until(lambda _: "can be closed" in browser.find_element(By.TAG_NAME, "body").text)
    thread.join(10)
    assert not thread.is_alive() and read_marks(path) == {(0, 0): False, (1, 10): True}


@pytest.mark.parametrize(
    "body", [{"episode": 0, "frame": 4, "success": True}, {"episode": -1, "frame": 0, "success": True},
             {"episode": 0, "frame": 0, "success": "yes"}, {"episode": True, "frame": 0, "success": True}, [1], "x"],
)  # fmt: skip
def test_what_is_no_mark_is_refused(server, body):
    made, path, _ = server
    with pytest.raises(HTTPError, match="400"):
        ask(made, "/mark", body)
    assert not path.exists()


def test_other_pages_cannot_mark(server):
    made, path, _ = server
    with pytest.raises(HTTPError, match="403"):
        ask(made, "/mark", {"episode": 0, "frame": 0, "success": True}, Origin="http://elsewhere.example")
    assert not path.exists()


def test_frames_that_are_not_there_are_not_found(server):
    for wrong in ("/frame?episode=0&frame=9", "/frame?episode=x", "/nothing"):
        with pytest.raises(HTTPError, match="40"):
            ask(server[0], wrong)


def test_marks_are_gone_on_with_and_a_damaged_file_is_named(tmp_path):
    marks = Marks.open(tmp_path / "marks.csv")
    marks.mark(0, 3, True)
    again = Marks.open(tmp_path / "marks.csv")
    again.mark(1, 2, False)
    assert read_marks(tmp_path / "marks.csv") == {(0, 3): True, (1, 2): False}
    (tmp_path / "marks.csv").write_text("episode,frame\n1,x\n")
    with pytest.raises(UserError, match=r"marks\.csv does not read as marks"):
        Marks.open(tmp_path / "marks.csv")
