"""Help that fits a screen, and arguments that are read, or refused in one sentence."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from functools import partial, wraps
from io import StringIO
from textwrap import wrap
from typing import Any

import tyro

from glocal.pipeline.check import check_call
from glocal.pipeline.config import Config, RobotConfig, typed
from glocal.runtime.files import UserError

MEANT = {
    "seed": "of everything that is drawn",
    "device": "where models are trained: auto, cpu or cuda",
    "threads": "of torch; 1 where anything else is running",
    "processes": "that record or decode at once",
    "logs": "a dataset to train on; without one, play is recorded",
    "held_out": "share of the episodes that no model is trained on",
    "judge": "share of the episodes for a second global model; 0 for none",
    "task.images": "observe images, in place of tracked keypoints",
    "task.agent": "observe the agent's own position",
    "task.control_steps": "control steps in an episode",
    "play.control_steps": "control steps recorded in all",
    "env.id": "a Gymnasium environment to judge policies in, where the robot is known by its logs alone",
    "env.options": "what it is made with",
    "env.success": "the key of its info that says success",
    "codec_fit.updates": "of the codec",
    "world.size": "of the global model, 1 to 4",
    "world_fit.updates": "of the global model",
    "world_fit.lr": "its learning rate",
    "surrogate_fit.updates": "of the local model, before the policy is trained",
    "matching.weight": "of derivative matching; 0 for none",
    "learn.iterations": "of the policy",
    "learn.envs": "imagined at once",
    "learn.horizon": "control steps of a rollout",
    "learn.episode": "imagined control steps after which an environment begins anew",
    "learn.gamma": "the discount",
    "policy_seed": "of policies alone, between the same models",
    "warm_start": "updates of behaviour cloning that the policy begins with",
    "learn.imitation": "how strongly the policy is held near what the logs would do; 0 for not at all",
    "cloning_fit.updates": "of behaviour cloning",
    "cloning.chunk": "actions told at once",
    "watch.every": "policy iterations between looks at the real environment; 0 for none",
    "watch.keep": "what is deployed: the last policy, the best or the last trusted one",
    "evaluate.episodes": "in the real environment",
    "evaluate.filmed": "episodes in the video",
    "probe_fit.updates": "of the probe that reads poses off observations",
    "clock.checkpoint_seconds": "between checkpoints",
}
"""Options that most people want, of the many that there are."""
EMPTY = {"logs": "PATH", "env.id": "ID", "env.options": "KEY=VALUE"}
"""How a value is called that an option has not yet."""
ALIASES = {"--help-all": "--help", "--env": "--env.id"}
"""What may be typed in place of an option."""
OFF = {
    "task.images": "observe tracked keypoints, in place of images",
    "task.agent": "do not observe the agent's own position",
}
"""What flags mean that are typed to turn off what is on."""
_ALWAYS = ("device", "threads")
_MODELS = ("seed", "held_out", "judge", "clock.checkpoint_seconds", *_ALWAYS)
_POLICY = ("policy_seed", "learn.iterations", "learn.envs", "learn.horizon", "learn.episode", "learn.gamma")
CHOSEN = {
    "run": tuple(MEANT),
    "collect": ("seed", "logs", "processes", "task.images", "task.agent", "task.control_steps", "play.control_steps"),
    "codec": ("codec_fit.updates", *_MODELS),
    "global": ("world.size", "world_fit.updates", "world_fit.lr", *_MODELS),
    "judge": ("judge", "world_fit.updates", *_MODELS[:2], *_ALWAYS),
    "local": ("surrogate_fit.updates", "matching.weight", *_MODELS),
    "cloning": ("cloning_fit.updates", "cloning.chunk", "policy_seed", *_MODELS),
    "policy": (*_POLICY, "warm_start", "learn.imitation", "watch.every", "watch.keep", *_MODELS),
    "gates": ("probe_fit.updates", *_ALWAYS),
    "evaluate": ("env.id", "env.options", "env.success", "evaluate.episodes", "evaluate.filmed", *_ALWAYS),
    "report": (),
    "status": (),
    "diagnose": _ALWAYS,
    "compare": ("seed", "logs", "world.size", *_POLICY[2:], "evaluate.episodes", "processes", *_ALWAYS),
}
"""By verb, or by the stage that is trained."""


def short_help(verb: str, prog: str, config: Config, own: Sequence[tuple[str, str]]) -> str:
    """A verb's help: its own options (as typed, and what they are for), then the chosen ones with their defaults."""
    rows = [*own, *((_typed(name, config), _meant(name, config)) for name in CHOSEN[verb] if _exists(name, config))]
    wide = max(len(option) for option, _ in rows) + 2
    lines = [f"usage: {prog} [options]", ""]
    for option, meant in rows:
        lines += wrap(meant, 120, initial_indent=f"  {option:{wide}}", subsequent_indent=" " * (wide + 2))
    return "\n".join([*lines, "", f"`{prog} --help-all` lists all options."])


def _typed(name: str, config: Config) -> str:
    found = _value(name, config)
    return (
        typed(name, not found) if isinstance(found, bool) else typed(name, EMPTY[name] if found in ("", ()) else found)
    )


def _meant(name: str, config: Config) -> str:
    if name == "logs" and isinstance(config.task, RobotConfig):
        return "the dataset to train on, of any robot and in any known format"
    return OFF[name] if _value(name, config) is True else MEANT[name]


def _exists(name: str, config: Config) -> bool:
    part, _, below = name.partition(".")
    if part in ("env", "play") and (part == "env") != isinstance(config.task, RobotConfig):
        return False
    return not below or below in vars(vars(config)[part])


def _value(name: str, config: Config) -> Any:
    found: Any = config
    for part in name.split("."):
        found = vars(found)[part]
    return found


def read(wanted: Any, arguments: Sequence[str], prog: str, help_text: str = "", **more: Any) -> Any:
    """What tyro makes of arguments; raises `UserError` for what it refuses, and exits after help was asked for."""
    if help_text and ("-h" in arguments or "--help" in arguments):
        print(help_text)
        sys.exit(0)
    given = [ALIASES.get(one, one) for one in arguments]
    return _told(lambda: tyro.cli(wanted, args=given, prog=prog, **more))


def read_verb(verbs: dict[str, Any], arguments: Sequence[str], prog: str, **more: Any) -> None:
    """Do what arguments say with one of several functions; raises `UserError` for what tyro refuses."""
    given = ["--help" if one == "--help-all" else one for one in arguments]
    later = {name: _checked(verb) for name, verb in verbs.items()}
    _told(lambda: tyro.extras.subcommand_cli_from_dict(later, args=given, prog=prog, **more))()


def _checked(verb: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """Instead of doing it, say what would be done, once its arguments are in their ranges."""

    @wraps(verb)
    def later(*arguments: Any, **options: Any) -> Callable[[], None]:
        return partial(_do, verb, arguments, options)

    return later


def _do(verb: Callable[..., None], arguments: Sequence[Any], options: Mapping[str, Any]) -> None:
    check_call(verb, *arguments, **options)
    verb(*arguments, **options)


def _told(parse: Callable[[], Any]) -> Any:
    said = StringIO()
    try:
        with redirect_stderr(said):
            return parse()
    except SystemExit as stopped:
        if stopped.code in (0, None):
            raise
        raise UserError(_sentence(said.getvalue())) from None


def _sentence(box: str) -> str:
    """What tyro draws a box around."""
    lines = [line.strip("│| ") for line in box.splitlines() if not line.startswith(("╭", "╰", "+"))]
    parts = " ".join("; " if line and set(line) <= {"─", "-"} else line for line in lines).split(" ;  ")
    return "; ".join(" ".join(part.split()) for part in parts if part.strip())
