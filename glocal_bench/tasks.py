"""The tasks of the bench: how the logs of each are recorded, and what is trained on them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A task, with its logs."""

    recorder: str
    """The module of `glocal_bench.record` whose `main` records them."""
    options: tuple[str, ...]
    """What it is told."""
    control_steps: int
    """Recorded in all, at most."""
    preset: str
    """What `glocal run` takes for them, of vectors or of pictures."""
    pictures: bool = False

    @property
    def about(self) -> str:
        """In words, for a table."""
        return f"{self.control_steps:,} control steps, {'pictures, ' if self.pictures else ''}preset {self.preset}"


def _fetch(env: str, preset: str, told: str = "everything") -> Task:
    options = ("--env", f"Fetch{env}Dense-v4", "--episodes", "800", "--told", told)
    return Task("fetch", options, 40_000, preset, told == "pictures")


def _metaworld(name: str, camera: bool = False) -> Task:
    options = ("--task", f"{name}-v3", *(["--camera"] if camera else []))
    return Task("metaworld", options, 24_000, "robot-points" if camera else f"metaworld-{name}", camera)


def _played(recorder: str, preset: str, episodes: int = 200, *camera: str) -> Task:
    options = ("--episodes", str(episodes), "--steps", "200", *(("--camera", *camera) if camera else ()))
    return Task(recorder, options, 200 * episodes, preset, bool(camera))


OWN = ("--told", "own")
TASKS = {
    "fetch-push": _fetch("Push", "fetch-push"),
    "fetch-push-places": _fetch("Push", "robot", "places"),
    "fetch-push-seen": _fetch("Push", "robot-points", "pictures"),
    "fetch-pick-and-place": _fetch("PickAndPlace", "fetch-pick-and-place"),
    "metaworld-push": _metaworld("push"),
    "metaworld-drawer-open": _metaworld("drawer-open"),
    "metaworld-drawer-open-seen": _metaworld("drawer-open", camera=True),
    "metaworld-pick-place": _metaworld("pick-place"),
    "push-cube": _played("cube", "push-cube"),
    "push-cube-seen": _played("cube", "robot-points", 200, "above"),
    "push-cube-ego": _played("cube", "robot-ego", 1080, "head", *OWN),
    "grasp-lift": _played("grasp", "grasp-lift"),
    "grasp-lift-ego": _played("grasp", "robot-memory", 200, "head", *OWN),
}
