"""The table of worlds: a row for each run, with what it has come to."""

import json
import subprocess
import sys

from tests.logs import ROOT


def test_a_row_holds_what_a_run_has_come_to(tmp_path):
    run, begun = tmp_path / "points", tmp_path / "motion"
    for folder in (run / "stages", run / "policy", begun):
        folder.mkdir(parents=True)
    for folder in (run, begun):
        (folder / "config.json").write_text("{}")
    for stage, seconds in {"codec": 1200.4, "global": 2400, "policy": 900}.items():
        (run / "stages" / f"{stage}.json").write_text(json.dumps({"seconds": seconds}))
    rates = [{"iteration": i, "speed/steps_per_second": rate} for i, rate in ((1, 10.0), (2, 900.0), (3, 1000.0))]
    (run / "policy" / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rates))
    names = {"local model": 4.0, "global model": 3.0, "nothing moves": 44.0, "global, shuffled actions": 55.0}
    drift = {name: {"1": {"block_px": 0.1}, "20": {"block_px": off}} for name, off in names.items()}
    far = {name: {"20": {"block_px": 2 * off}} for name, off in names.items()}
    gates = {"drift": drift, "drift_far": far, "codec": {"block_px": 0.84}}
    (run / "gates.json").write_text(json.dumps(gates))
    (run / "results.json").write_text(json.dumps({"policy": {"pose": {"k": 9, "n": 10, "low": 0.6, "high": 0.98}}}))
    command = [sys.executable, str(ROOT / "runs" / "tabulate_worlds.py"), str(run), str(begun), str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines())
    assert len(rows) == 2 and all(len(row) == len(head) for row in rows)
    assert rows[0][:5] == ["points", "1,200", "2,400", "900", "900"]
    assert rows[0][5:] == ["3.0, 44.0, 55.0", "6.0, 88.0, 110.0", "0.8", "9/10 [0.60, 0.98]"]
    assert rows[1] == ["motion", *[""] * (len(head) - 1)]
