"""Pictures of a MuJoCo scene by its cameras: without shadows and smoothing, which cost a CPU thirty times as much."""

import weakref
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

mujoco: Any = import_module("mujoco")  # it has no types

AMBIENT, DIFFUSE = 0.6, 0.4
"""The one light, which is where the camera is."""
VISUAL_MJCF = f"""
<visual>
  <quality shadowsize="0" offsamples="0"/>
  <map znear=".005"/>
  <headlight ambient="{AMBIENT} {AMBIENT} {AMBIENT}" diffuse="{DIFFUSE} {DIFFUSE} {DIFFUSE}" specular="0 0 0"/>
</visual>"""
"""Nothing casts a shadow."""


class Pictures:
    """Draws what cameras of a model see; `hidden` names the groups of geoms that a camera does not show."""

    def __init__(self, model: Any, hidden: Mapping[str, tuple[int, ...]]) -> None:
        self.model, self.hidden = model, hidden
        self.renderers: dict[tuple[int, int], Any] = {}

    def draw(self, data: Any, camera: str, height: int, width: int) -> NDArray[np.uint8]:
        """What a camera shows now, (height, width, 3) bytes."""
        shape = (height, width)
        if shape not in self.renderers:
            self.renderers[shape] = renderer = mujoco.Renderer(self.model, *shape)
            weakref.finalize(self, renderer.close)  # at the interpreter's end it would be too late
        option = mujoco.MjvOption()
        option.geomgroup[list(self.hidden.get(camera, ()))] = 0
        self.renderers[shape].update_scene(data, camera=camera, scene_option=option)
        return self.renderers[shape].render()

    def light(self, share: float) -> None:
        """Make everything brighter or darker: 1 is as usual."""
        light = self.model.vis.headlight
        light.ambient[:], light.diffuse[:] = AMBIENT * share, DIFFUSE * share

    def close(self) -> None:
        for renderer in self.renderers.values():
            renderer.close()
        self.renderers.clear()
