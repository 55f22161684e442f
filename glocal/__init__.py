"""Robot policies that are trained wholly inside learned world models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glocal.deploy.actors import save_actor as save_actor
    from glocal.deploy.rsl_rl import RslRlVecEnv as RslRlVecEnv
    from glocal.deploy.sb3 import SB3VecEnv as SB3VecEnv
    from glocal.pipeline.make_vec import make_vec as make_vec
    from glocal.pipeline.transitions import transitions as transitions

_MODULES = {
    "make_vec": "glocal.pipeline.make_vec",
    "transitions": "glocal.pipeline.transitions",
    "save_actor": "glocal.deploy.actors",
    "SB3VecEnv": "glocal.deploy.sb3",
    "RslRlVecEnv": "glocal.deploy.rsl_rl",
}
__all__ = ["RslRlVecEnv", "SB3VecEnv", "make_vec", "save_actor", "transitions"]


def __getattr__(name: str) -> Any:
    """What is offered here is imported where it is asked for: `glocal --help` needs no torch."""
    if name not in _MODULES:
        raise AttributeError(f"module 'glocal' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
