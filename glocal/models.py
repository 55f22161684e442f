"""From a configuration to models, and from a run's checkpoints to models with their weights."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glocal import checkpoints
from glocal.agents.actor import Actor, TwinCritics
from glocal.agents.cloning import ChunkActor
from glocal.agents.ppo import PPOActor, PPOConfig
from glocal.codecs.grid import GridCodec, GridCodecConfig
from glocal.codecs.identity import IdentityCodec
from glocal.codecs.keypoints import KeypointCodec
from glocal.config import Config, to_dict
from glocal.core.improve import Pilot
from glocal.core.types import Codec, Grid, Points, Spec
from glocal.data.segments import Recorded
from glocal.data.store import EpisodeStore
from glocal.files import UserError, appearing, sha256
from glocal.surrogates.mlp import MLPSurrogate
from glocal.surrogates.rssm import RSSM, RSSMConfig
from glocal.tasks.pusht import IMAGE_SIZE, TABLE, spec
from glocal.worlds.diffusion import DiffusionWorld
from glocal.worlds.grid import GridWorld, GridWorldConfig
from glocal.worlds.keypoints import KeypointWorld

KEYPOINTS = 8
ENCODED_AT_ONCE = 1024


def build_spec(config: Config) -> Spec:
    """What the models see: the T's own keypoints, or what the codec makes of images."""
    if not config.task.images:
        return spec(Points(KEYPOINTS, rigid=True))
    return spec(config.codec.layout)


def build_codec(config: Config) -> Codec:
    if not config.task.images:
        return IdentityCodec(TABLE)
    cfg, agent = config.codec, config.task.agent
    if isinstance(cfg, GridCodecConfig):
        if not agent:
            raise UserError("a latent grid does not tell where the agent is from images alone; use --task.agent True")
        return GridCodec(cfg, TABLE, IMAGE_SIZE)
    return KeypointCodec(cfg, TABLE, IMAGE_SIZE, agent)


def build_world(config: Config) -> DiffusionWorld:
    cfg, spec = config.world, build_spec(config)
    _check_layout(isinstance(spec.layout, Grid) == isinstance(cfg, GridWorldConfig), "world", config)
    return GridWorld(cfg, spec) if isinstance(cfg, GridWorldConfig) else KeypointWorld(cfg, spec)


def build_surrogate(config: Config) -> MLPSurrogate | RSSM:
    cfg, spec = config.surrogate, build_spec(config)
    _check_layout(isinstance(cfg, RSSMConfig) or isinstance(spec.layout, Points), "surrogate", config)
    return RSSM(cfg, spec) if isinstance(cfg, RSSMConfig) else MLPSurrogate(cfg, spec)


def _check_layout(fits: bool, part: str, config: Config) -> None:
    if not fits:
        raise UserError(f"this {part} does not take the codec's {build_spec(config).layout}; see how presets pair them")


def build_critics(config: Config, surrogate: MLPSurrogate | RSSM) -> TwinCritics:
    return TwinCritics(config.agent, surrogate.feat_dim)


def device_of(config: Config) -> torch.device:
    """Where models are trained; raises `UserError` where a GPU is asked for and there is none."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda was asked for, but torch finds no GPU here; use --device cpu or auto")
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    return torch.device(wanted)


def check(config: Config) -> None:
    """Raise `UserError` where parts of a configuration do not go together, or its device is not there."""
    device_of(config)
    with torch.device("meta"):
        build_codec(config)
        build_world(config)
        build_surrogate(config)


def compiled(function: Any, device: torch.device) -> Any:
    """The function as one compiled program on a GPU; on CPUs it stays as it is, where compiling gained nothing."""
    return torch.compile(function, dynamic=False) if device.type == "cuda" else function


def load_trained(module: Any, folder: Path, kind: str) -> Any:
    """The module with its stage's weights, frozen; raises `UserError` where the stage has not finished."""
    checkpoint = checkpoints.load(folder, kind)
    if checkpoint is None:
        raise UserError(f"there is no trained {kind} model in {folder}; run `glocal train {kind}` first")
    checkpoints.restore(module, checkpoint)
    return module.requires_grad_(False).eval()


def build_pilot(config: Config, surrogate: MLPSurrogate | RSSM, kind: str = "policy") -> Pilot:
    """What the stage `kind` (policy or cloning) trains."""
    actions = build_spec(config).action_dim
    if kind == "policy" and isinstance(config.learn, PPOConfig):
        return Pilot(surrogate, PPOActor(config.learn, surrogate.feat_dim, actions))
    if kind == "cloning" and config.cloning.chunk > 1:
        return Pilot(surrogate, ChunkActor(config.agent, surrogate.feat_dim, actions, config.cloning.chunk))
    return Pilot(surrogate, Actor(config.agent, surrogate.feat_dim, actions))


@torch.no_grad()
def encode_store(codec: Codec, store: EpisodeStore, device: torch.device) -> Tensor:
    """Observations (rows, d) of everything recorded."""
    total = int(store.starts[-1])
    parts = []
    for start in range(0, total, ENCODED_AT_ONCE):
        rows = slice(start, start + ENCODED_AT_ONCE)
        fields = {name: torch.tensor(store.fields[name][rows]).to(device) for name in codec.reads}
        parts.append(codec.encode(fields).cpu())
    return torch.cat(parts)


def split_recorded(config: Config, store: EpisodeStore, obs: Tensor) -> tuple[Recorded, Recorded]:
    """The episodes that models are trained on, and the last ones, which they are not."""
    kept = max(1, round(len(store) * (1 - config.held_out)))
    if kept == len(store):
        raise UserError(f"{len(store)} recorded episodes are too few to hold some out; collect more decisions")
    return Recorded.of(store, obs, range(kept)), Recorded.of(store, obs, range(kept, len(store)))


@dataclass(frozen=True)
class Run:
    """A run's folder and configuration, and what its stages have left there."""

    folder: Path
    config: Config

    @cached_property
    def device(self) -> torch.device:
        return device_of(self.config)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @cached_property
    def store(self) -> EpisodeStore:
        return EpisodeStore.open(self.data)

    @cached_property
    def codec(self) -> Any:
        codec = build_codec(self.config)
        return self._trained(codec, self.folder / "codec", "codec") if self.config.task.images else codec

    @cached_property
    def experience(self) -> tuple[Recorded, Recorded]:
        """Recorded experience to train on, and held out."""
        train, held_out = split_recorded(self.config, self.store, self.observations())
        return train.to(self.device), held_out.to(self.device)

    def observations(self) -> Tensor:
        """Everything recorded as the models see it, (rows, d); images are encoded once and kept beside their codec."""
        if not self.config.task.images:
            return encode_store(self.codec, self.store, self.device)
        weights = self.folder / "codec" / "last" / "model.safetensors"
        path = self.folder / "codec" / f"obs-{self.store.hash[:16]}-{sha256(weights)[:16]}.npy"
        if not path.is_file():
            with appearing(path) as draft, draft.open("wb") as file:
                np.save(file, encode_store(self.codec, self.store, self.device).numpy())
        return torch.from_numpy(np.load(path, allow_pickle=False))

    def world(self) -> Any:
        return self._trained(build_world(self.config), self.folder / "global", "global")

    def surrogate(self) -> Any:
        return self._trained(build_surrogate(self.config), self.folder / "local", "local")

    def pilot(self, kind: str) -> Pilot:
        """What the stage `kind` (policy or cloning) trained."""
        pilot = build_pilot(self.config, build_surrogate(self.config), kind)
        return self._trained(pilot, self.folder / kind, kind)

    @property
    def best_policy(self) -> Path:
        """Where the policy that did best while it was watched is kept, if that is asked for."""
        return self.folder / "policy" / "best"

    def policy(self) -> Pilot:
        """The policy to deploy: the last one, or the best one where the configuration says so."""
        if not self.config.watch.keep_best:
            return self.pilot("policy")
        pilot = build_pilot(self.config, build_surrogate(self.config), "policy")
        return self._trained(pilot, self.best_policy, "policy")

    def _trained(self, module: Any, folder: Path, kind: str) -> Any:
        return load_trained(module, folder, kind).to(self.device)

    def about(self) -> dict[str, Any]:
        """What every checkpoint says of its origin."""
        return {"config": json.dumps(to_dict(self.config)), "data": self.store.hash}
