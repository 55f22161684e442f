"""Policies that glocal exported, as a LeRobot policy type. Importing this registers the type `glocal`."""

from importlib.util import find_spec

if find_spec("lerobot") is not None:  # `bridge` alone works without LeRobot
    from .configuration_glocal import GlocalConfig as GlocalConfig
