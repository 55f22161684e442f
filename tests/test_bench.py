"""`glocal bench`: the logs of its tasks, recorded by name, and whether they are everybody's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tyro

from glocal.cli import main
from glocal.pipeline.presets import PRESETS
from glocal_bench import cli, fingerprints
from glocal_bench.tasks import TASKS
from tests.refusals import refused
from tests.robots import robot_logs, seeing_logs

ROOT = Path(__file__).parents[1]


def test_a_fingerprint_is_of_all_numbers_and_of_nothing_else(tmp_path):
    first, again = robot_logs(tmp_path / "a", 3, 20), robot_logs(tmp_path / "b", 3, 20)
    found = fingerprints.fingerprint(first)
    assert found == fingerprints.fingerprint(again) != fingerprints.fingerprint(robot_logs(tmp_path / "c", 3, 20, 1))
    (path,) = (again / "data").rglob("*.parquet")
    table = pq.read_table(path)
    rows = np.array(table["next.reward"].to_pylist(), np.float32)
    rows[-1] = np.nextafter(rows[-1], np.float32(1))
    column = pa.array(rows.tolist(), table.schema.field("next.reward").type)
    pq.write_table(table.set_column(table.schema.get_field_index("next.reward"), "next.reward", column), path)
    assert fingerprints.fingerprint(again) != found


def test_pictures_have_no_part_in_it(tmp_path):
    logs = seeing_logs(tmp_path / "logs", 2, 20)
    found = fingerprints.fingerprint(logs)
    for video in logs.rglob("*.mp4"):
        video.write_bytes(b"another encoder's")
    assert fingerprints.fingerprint(logs) == found


@pytest.mark.parametrize("task", TASKS)
def test_a_task_names_what_there_is(task):
    one = TASKS[task]
    assert (ROOT / "glocal_bench" / "record" / f"{one.recorder}.py").is_file() and one.preset in PRESETS
    assert f"`{task}`" in (ROOT / "docs" / "bench.md").read_text()
    assert set(fingerprints.known()) <= set(TASKS)


def test_options_given_come_after_the_tasks_own_and_only_without_any_is_the_bench_named(tmp_path, monkeypatch, capsys):
    asked = []

    def recorder(
        out: tyro.conf.Positional[Path], env: str = "", episodes: int = 1, told: str = "", processes: int = 1
    ) -> None:
        """Record nothing much."""
        asked.append((env, episodes, told, processes))
        robot_logs(out, 2, 20)

    monkeypatch.setattr(cli, "_recorder", lambda task: recorder)
    monkeypatch.setattr(fingerprints, "known", dict)
    main(_record(tmp_path / "a"))
    assert "none is known of fetch-push" in capsys.readouterr().out
    main([*_record(tmp_path / "b"), "--processes=2", "--episodes=3"])
    assert "fingerprint" not in capsys.readouterr().out
    assert asked == [("FetchPushDense-v4", 800, "everything", 1), ("FetchPushDense-v4", 3, "everything", 2)]


@pytest.mark.parametrize(
    "change, said",
    [
        ({}, "to the bit"),
        ({"sha256": "0" * 64}, "not the same numbers"),
        ({"fps": 7.0}, "these are not the logs of fetch-push: found 20.0 fps, expected 7.0"),
        ({"episodes": 800}, "found 2 episodes, expected 800"),
        ({"features": ("force float32 3",)}, "they have action float32 4; they lack force float32 3;"),
    ],
)
def test_a_check_says_in_what_logs_differ_and_exits_with_1_where_they_do(tmp_path, monkeypatch, capsys, change, said):
    logs = robot_logs(tmp_path / "logs", 2, 20)
    expected = replace(fingerprints.fingerprint(logs), **change)
    monkeypatch.setattr(fingerprints, "known", lambda: {"fetch-push": expected})
    status = 0
    try:
        main(["bench", "check", "fetch-push", str(logs)])
    except SystemExit as ended:
        status = ended.code
    assert said in capsys.readouterr().out and status == (1 if change else 0)


def test_what_makes_no_sense_is_refused_in_a_sentence(tmp_path, capsys):
    assert "found nothing" in refused(capsys, "bench")
    assert "takes record TASK FOLDER" in refused(capsys, "bench", "race")
    assert "there is no task 'chess'; expected one of fetch-push," in refused(capsys, "bench", "record", "chess", "x")
    assert "no task 'chess'" in refused(capsys, "bench", "check", "chess", tmp_path)
    assert str(tmp_path / "no") in refused(capsys, "bench", "check", "push-cube", tmp_path / "no")


def test_the_list_names_every_task(capsys):
    main(["bench", "list"])
    said = capsys.readouterr().out
    assert all(f"\n{task} " in f"\n{said}" for task in TASKS)


def _record(out: Path) -> list[str]:
    return ["bench", "record", "fetch-push", str(out)]
