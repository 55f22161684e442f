"""Every code block in README.md works as it stands there."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from glocal import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_every_block_is_of_a_kind_that_is_run_here():
    assert {kind for kind, _ in BLOCKS} == {"sh", "python"}


@pytest.mark.parametrize("code", [code for kind, code in BLOCKS if kind == "python"])
def test_python(code):
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("code", [code for kind, code in BLOCKS if kind == "sh" and code.startswith("make")])
def test_make_has_the_target(code):
    # `make test` cannot run itself: make is asked what it would do.
    done = subprocess.run(["make", "-n", *shlex.split(code)[1:]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ("glocal run pusht-keypoints" if "demo" in code else "-m pytest") in done.stdout


def test_the_verbs_in_their_order(tmp_path):
    (block,) = [code for kind, code in BLOCKS if kind == "sh" and code.startswith("glocal")]
    for line in block.splitlines():
        words = shlex.split(line, comments=True)[1:]
        small = [word.replace("pusht-keypoints", "pusht-keypoints-debug") for word in words]
        if small:
            cli.main([word.replace("out/", f"{tmp_path}/") for word in small])
    assert (tmp_path / "mine" / "report.html").is_file()


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_linked_files_exist(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text(encoding="utf-8"))
    own = [link for link in links if not link.startswith("http")]
    assert all(((ROOT / page).parent / link).exists() for link in own) and (own or page != "README.md")
