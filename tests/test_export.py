"""A run's recorded episodes as a dataset: what was stored is what is written."""

import numpy as np

from glocal.cli import main
from glocal.data.formats import open_dataset
from glocal.run import open_run


def test_recorded_episodes_are_written_as_they_are_stored(tmp_path):
    main(["collect", "pusht-keypoints-debug", "--run", str(tmp_path / "run")])
    main(["data", "export", str(tmp_path / "run"), str(tmp_path / "out")])
    store, dataset = open_run(tmp_path / "run").store, open_dataset(tmp_path / "out")
    assert len(dataset) == len(store) and dataset.fps == 5
    rows, found = store.episode(3), dataset.episode(3, list(dataset.features))
    assert np.array_equal(found["observation.environment_state"], rows["keypoints"][:-1])
    target = np.clip(rows["agent"][:-1] + 50 * rows["action"][1:], 0, 512)
    assert np.allclose(found["action"], target, atol=1e-3)
    assert np.array_equal(found["next.reward"][:, 0], rows["reward"][1:])
    assert found["next.done"][:, 0].tolist() == [False] * (len(target) - 1) + [True]
