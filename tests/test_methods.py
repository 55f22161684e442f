"""Every method of a comparison is a configuration of its own."""

import pytest

from glocal.pipeline.check import check
from glocal.pipeline.methods import METHODS, Study
from glocal.pipeline.presets import PRESETS


@pytest.mark.parametrize("preset, best", [("metaworld-push", 0.3), ("robot", 0.25)])
def test_cloning_is_of_all_episodes_and_that_of_the_best_of_as_many_as_the_preset_says(preset, best):
    study = Study(PRESETS[preset], 1e5)
    assert METHODS["cloning"](study).cloning.best == 1.0
    assert METHODS["cloning-best"](study).cloning.best == best


def test_all_methods_begin_as_the_preset_says():
    study = Study(PRESETS["metaworld-push"], 1e5)
    for name in ("decouple", "imagine", "ppo", "ppo-same"):
        assert METHODS[name](study).warm_start == 3000, name


def test_in_a_short_comparison_critics_do_not_come_first_for_all_of_it():
    config = METHODS["decouple"](Study(PRESETS["metaworld-push"], 2e4))
    assert config.learn.iterations == 10 and config.learn.critics_first == 9
    check(config)
