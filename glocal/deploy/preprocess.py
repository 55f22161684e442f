"""A robot's own pictures and positions as its models were trained to see them, by the mapping of their logs."""

import typing
from collections.abc import Callable
from dataclasses import replace

from glocal.data.dataset import Feature
from glocal.data.mapping import Mapping, cameras_of, numbers, pixels, reach_in_pixels, shown
from glocal.runtime.files import UserError
from glocal.tasks.pusht import HOLD, IMAGE_SIZE, STEPS_A_SECOND, TABLE, PushTConfig, Seen

View = Callable[[Seen], Seen]


def plain(seen: Seen) -> Seen:
    """What was recorded by the task itself is seen as it is."""
    return seen


def through(mapping: Mapping) -> View:
    """The view of a robot whose logs have this mapping; raises `UserError` at pictures of another size."""

    def view(seen: Seen) -> Seen:
        if seen.image is None or seen.image.shape[:2] != mapping.picture:
            found = "no picture" if seen.image is None else f"pictures of {seen.image.shape[:2]}"
            raise UserError(f"the logs' camera {mapping.camera} made pictures of {mapping.picture}, this one {found}")
        return replace(seen, image=shown(mapping, seen.image), agent=pixels(mapping, seen.agent))

    return view


def check_planar(mapping: Mapping, features: typing.Mapping[str, Feature], by_hand: bool) -> list[str]:
    """What of logs is not of a planar robot that is told two numbers and seen by one camera, in words.

    A mapping that stands beside the logs (`by_hand`) may say which camera, and which numbers of a state, are meant; it
    cannot make a robot that is told more than two numbers one that is told two.
    """
    wrong, cameras = [], cameras_of(features)
    count = {name: numbers(feature) for name, feature in features.items()}
    if count.get(mapping.action, 2) != 2:
        wrong.append(f"its {mapping.action} holds {count[mapping.action]} numbers, expected 2")
    told = (name for name in features if name.partition(".")[0] in ("action", "actions"))
    others = [name for name in told if name != mapping.action]
    if others:
        wrong.append(f"it is told {', '.join(others)} beside {mapping.action}, expected one action")
    named = by_hand or mapping.representation == "absolute"  # targets near the first two numbers tell that they are it
    state = count.get(mapping.state or "", 2)
    if state < 2 or (state > 2 and not named):
        wrong.append(f"its {mapping.state} holds {state} numbers, expected 2, or a mapping that says which two")
    if len(cameras) > 1 and not by_hand:
        wrong.append(
            f"it is seen by {len(cameras)} cameras ({', '.join(cameras)}), expected 1, or a mapping that says which"
        )
    return wrong


def check_robot(mapping: Mapping, task: PushTConfig) -> list[str]:
    """What of a mapping does not fit the robot of this task, in words."""
    reach, wrong = reach_in_pixels(mapping), []
    if abs(mapping.rate - STEPS_A_SECOND / HOLD) > 1e-6:
        wrong.append(f"rate is {mapping.rate:g}, the robot takes {STEPS_A_SECOND / HOLD:g} control steps a second")
    if abs(reach - task.reach).max() > 1e-3:
        wrong.append(
            f"reach is {mapping.reach:g}, which is {reach} of {TABLE:g} pixels; the robot's is {task.reach:g}, say "
            f"--task.reach {reach.mean():.6g} or mend the mapping"
        )
    if mapping.size != IMAGE_SIZE:
        wrong.append(f"size is {mapping.size}, models see pictures of {IMAGE_SIZE}")
    if task.agent and mapping.state is None:
        wrong.append("there is no state, but the agent's position is observed; use a preset of images alone")
    return wrong
