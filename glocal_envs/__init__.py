"""Gymnasium environments that stand for real robots; importing this registers those of `IDS` and `ADAPTED`.

glocal itself never imports them: it is told their names, as of any other plug-in of Gymnasium.
"""

import gymnasium

IDS = {"glocal/PushCube-v0": ("push_cube:PushCube", 300), "glocal/GraspLift-v0": ("grasp_lift:GraspLift", 100)}
"""Where each is, and how many control steps its episodes have."""

ADAPTED = {"glocal/MetaWorld-v0": ("metaworld:MetaWorld", 50)}
"""Tasks of others, seen by a camera that a CPU draws quickly."""

for _name, (_where, _steps) in {**IDS, **ADAPTED}.items():
    if _name not in gymnasium.registry:
        gymnasium.register(_name, entry_point=f"glocal_envs.{_where}", max_episode_steps=_steps)
