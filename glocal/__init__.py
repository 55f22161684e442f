"""Robot policies that are trained wholly inside learned world models."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glocal.pipeline.make_vec import make_vec as make_vec

__all__ = ["make_vec"]


def __getattr__(name: str) -> Any:
    """What is offered here is imported where it is asked for: `glocal --help` needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module 'glocal' has no attribute {name!r}")
    from glocal.pipeline.make_vec import make_vec

    return make_vec
