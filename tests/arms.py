"""Robots that are driven by `glocal rollout --robot tests.arms:NAME`."""

from typing import Any

import numpy as np


class Still:
    """Stays where it is."""

    def observe(self) -> Any:
        return {"observation.state": np.zeros(4), "observation.goal": np.ones(3)}

    def command(self, told: Any) -> None:
        pass

    def stop(self) -> None:
        pass


class Half(Still):
    """Begins episodes, and does not say how they end."""

    def reset(self, seed: int) -> None:
        pass


class Failing(Still):
    """Fails in its second episode."""

    success = over = False
    looks = 0

    def reset(self, seed: int) -> None:
        pass

    def observe(self) -> Any:
        self.looks += 1
        if self.looks > 7:
            raise ValueError("worn out")
        return super().observe()
