"""A run as it lies on the disk: its folder, its configuration, and what its stages have left there."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from glocal.core.improve import Policy
from glocal.core.matching import Matching
from glocal.core.types import Codec, FittedCodec
from glocal.data.mapping import Mapping, sight
from glocal.data.mapping import from_dict as mapping_from
from glocal.data.remembered import remembered
from glocal.data.segments import Recorded
from glocal.data.store import EpisodeStore
from glocal.deploy.preprocess import View, plain, through
from glocal.models.codecs.egocentric import EgocentricCodecConfig
from glocal.pipeline.build import (
    build_codec,
    build_policy,
    build_spec,
    build_surrogate,
    build_world,
    device_of,
    load_trained,
)
from glocal.pipeline.config import Config, PictureWorldConfig, to_dict
from glocal.runtime.checkpoints import Checkpoint
from glocal.runtime.files import UserError, sha256
from glocal.tasks.pusht import IMAGE_SIZE, PushTConfig

ENCODED_AT_ONCE = 1024
"""Rows, where pictures are of 64 by 64 pixels or there are none; fewer of larger ones."""
USUAL_AREA = 64 * 64 * 3


@dataclass(frozen=True)
class RunFolder:
    """A run's folder and configuration, and the data that was collected in it.

    The classes below add what later stages make. A stage asks for the one that is enough for it, and depends on the
    code of no other.
    """

    folder: Path
    config: Config
    """Within a stage, what the stage has declared of it."""

    @cached_property
    def device(self) -> torch.device:
        return device_of(self.config)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @cached_property
    def store(self) -> EpisodeStore:
        return EpisodeStore.open(self.data)

    def kept(self, kind: str) -> Path:
        """The folder of the checkpoint that is deployed: of the last policy, the best one or the last trusted one."""
        keep = self.config.watch.keep
        return self.folder / kind if kind != "policy" or keep == "last" else self.folder / "policy" / keep

    def about(self) -> dict[str, Any]:
        """What every checkpoint says of its origin."""
        origin = {"config": json.dumps(to_dict(self.config)), "data": self.store.hash}
        told = self.store.about.get("mapping")
        return origin if told is None else origin | {"mapping": json.dumps(told)}


@dataclass(frozen=True)
class Recordings(RunFolder):
    """A run's recorded experience, as its models see it."""

    @cached_property
    def mapping(self) -> Mapping | None:
        """How the logs that models are trained on became what they see; None where play was recorded."""
        told = self.store.about.get("mapping")
        return None if told is None else mapping_from(told, self.data / "index.json")

    @cached_property
    def codec(self) -> Any:
        codec = build_codec(self.config)
        return self._trained(codec, self.folder / "codec", "codec") if isinstance(codec, FittedCodec) else codec

    @cached_property
    def experience(self) -> tuple[Recorded, Recorded]:
        """Recorded experience to train on, and held out."""
        train, _, held_out = split_recorded(self.config, len(self.store))
        return self.recorded(train), self.recorded(held_out)

    @cached_property
    def set_aside(self) -> Recorded:
        """Recorded experience that nothing but the judge is trained on."""
        return self.recorded(split_recorded(self.config, len(self.store))[1])

    @property
    def everything(self) -> Recorded:
        """All recorded experience: to look at, not to train on."""
        return self.recorded(range(len(self.store)))

    def recorded(self, episodes: range) -> Recorded:
        """The experience in some episodes, on the run's device."""
        found = Recorded.of(self.store, self.observations, episodes).to(self.device)
        codec = self.config.codec
        return replace(found, begun=self.codec.begun, fresh=codec.fresh) if _remembers(codec) else found

    def for_world(self, recorded: Recorded) -> Recorded:
        """Recorded experience with all that the global model begins from: where it draws pictures, those too, and where
        more is known afterwards than at the time, that."""
        if isinstance(self.config.world, PictureWorldConfig):
            return replace(recorded, film=tuple(self.store.fields[name] for name in self.codec.cameras))
        if not _remembers(self.config.codec):
            return recorded
        return replace(recorded, hindsight=self._hindsight[recorded.stored].to(self.device))

    @cached_property
    def _hindsight(self) -> Tensor:
        """Of everything recorded, (rows, d), kept beside the codec."""

        def known() -> NDArray[Any]:
            obs, starts = self.observations.to(self.device), beginnings(self.store).to(self.device)
            return self.codec.hindsight(obs.float(), starts).cpu().numpy()

        return _finite(self._kept_beside("known", known))

    @cached_property
    def observations(self) -> Tensor:
        """Everything recorded as the models see it, (rows, d); images are encoded once and kept beside their codec.

        Raises `UserError` where some of it is not a finite number.
        """
        if not self.config.task.images:
            return _finite(encode_store(self.codec, self.store, self.device))
        return _finite(self._kept_beside("seen", lambda: encode_store(self.codec, self.store, self.device).numpy()))

    def _kept_beside(self, name: str, make: Callable[[], NDArray[Any]]) -> Tensor:
        """What the codec makes of everything recorded, (rows, d), made once and kept beside it."""
        weights = self.folder / "codec" / "last" / "model.safetensors"
        path = self.folder / "codec" / f"{name}-{self.store.hash[:16]}-{sha256(weights)[:16]}.npy"
        return torch.from_numpy(remembered(path, int(self.store.starts[-1]), make))

    def _trained(self, module: Any, folder: Path, kind: str) -> Any:
        trained = load_trained(module, folder, kind, self._check_sight)
        return trained.to(self.device)

    def _check_sight(self, checkpoint: Checkpoint) -> None:
        """Raise `UserError` where a model was trained to see the robot otherwise than the data of this run show it."""
        then = _sight_of(checkpoint)
        now = None if self.mapping is None else sight(self.mapping)
        if then != now:
            raise UserError(
                f"the model in {checkpoint.path} was trained on what {_through(then)} shows; {self.data} holds what "
                f"{_through(now)} shows; train it again, or collect with the mapping that it had"
            )


@dataclass(frozen=True)
class Modelled(Recordings):
    """A run's recordings and the models that were trained on them."""

    def world(self) -> Any:
        return self._trained(build_world(self.config, self.codec), self.folder / "global", "global")

    def judge(self) -> Any:
        """The second global model, where episodes are set aside for one, or None."""
        if not self.config.judge:
            return None
        return self._trained(build_world(self.config, self.codec), self.folder / "judge", "judge")

    def surrogate(self) -> Any:
        return self._trained(build_surrogate(self.config), self.folder / "local", "local")

    def matching(self) -> Matching | None:
        """What the local model's gradients are held to, where that is asked for."""
        if not self.config.matching.weight:
            return None
        pairs = self.experience[0].pairs()
        scale = (pairs.after - pairs.before).std(0).clamp_min(1e-3)
        spec = build_spec(self.config)
        own = torch.arange(spec.obs_dim, device=self.device)
        own = own[spec.columns("agent")] if isinstance(self.config.task, PushTConfig) else own
        return Matching(self.config.matching, self.world(), scale, own, self.config.world.context + 1)


@dataclass(frozen=True)
class Run(Modelled):
    """A whole run: what all of its stages have left in its folder."""

    @property
    def view(self) -> View:
        """How what the robot sees becomes what models see."""
        return plain if self.mapping is None else through(self.mapping)

    @property
    def picture(self) -> tuple[int, int]:
        """Height and width of the robot's pictures."""
        return (IMAGE_SIZE, IMAGE_SIZE) if self.mapping is None else self.mapping.picture

    def policy(self, kind: str) -> Policy:
        """What the stage `kind` (policy or cloning) trained, and is deployed."""
        policy = build_policy(self.config, build_surrogate(self.config), kind)
        return self._trained(policy, self.kept(kind), kind)


def _remembers(codec: Any) -> TypeGuard[EgocentricCodecConfig]:
    """Whether what a robot with such a codec knows is not all that its recordings tell afterwards."""
    return isinstance(codec, EgocentricCodecConfig)


def _finite(observations: Tensor) -> Tensor:
    """Observations (rows, d); raises `UserError` where some are not finite numbers."""
    broken = (~observations.isfinite()).any(1).nonzero().flatten()
    if not len(broken):
        return observations
    raise UserError(
        f"the codec makes numbers that are not finite of {len(broken)} of {len(observations)} recorded rows, the first "
        f"of them row {int(broken[0])}; look for NaNs in the data, or train the codec again"
    )


def _sight_of(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """How a model was trained to see the robot; None where that is the task's own way."""
    told = checkpoint.about.get("mapping")
    try:
        return None if told is None else sight(mapping_from(json.loads(told), checkpoint.path))
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{checkpoint.path / 'config.json'} is damaged: {told!r} is no mapping; train again") from error


def _through(seen: dict[str, Any] | None) -> str:
    return "the task itself" if seen is None else f"the mapping {seen}"


@torch.no_grad()
def encode_store(codec: Codec, store: EpisodeStore, device: torch.device) -> Tensor:
    """Observations (rows, d) of everything recorded."""
    total = int(store.starts[-1])
    area = max((x[0].size for name in codec.reads if (x := store.fields[name]).ndim == 4), default=USUAL_AREA)
    count, parts, unseen = max(8, ENCODED_AT_ONCE * USUAL_AREA // max(area, USUAL_AREA)), [], []
    for start in range(0, total, count):
        rows = slice(start, start + count)
        fields = {name: torch.tensor(store.fields[name][rows]).to(device) for name in codec.reads}
        parts.append(codec.encode(fields).cpu())
        if (hidden := codec.unseen(fields)) is not None:
            unseen.append(hidden.cpu())
    starts = beginnings(store)
    obs = carried(torch.cat(parts), torch.cat(unseen), starts) if unseen else torch.cat(parts)
    return codec.remembered(obs.to(device), starts.to(device)).cpu()


def beginnings(store: EpisodeStore) -> Int[Tensor, " e"]:
    """Where episodes begin, and at last where all end; what follows an end within a recording is one of its own."""
    starts = torch.as_tensor(store.starts)
    if "cont" not in store.fields:
        return starts
    ended = torch.from_numpy(np.array(store.fields["cont"])).flatten() < 0.5
    return torch.cat([starts, 1 + ended.nonzero()[:, 0]]).unique()


def carried(obs: Float[Tensor, "n d"], unseen: Bool[Tensor, "n d"], starts: Int[Tensor, " e"]) -> Float[Tensor, "n d"]:
    """Observations of episodes that begin at `starts`, the last of which is where all end, in which what is unseen
    stays as it was seen last in its episode."""
    rows = torch.arange(len(obs))
    first = starts[torch.searchsorted(starts, rows, right=True) - 1]
    last = torch.where(unseen, first[:, None], rows[:, None]).cummax(0).values
    return obs.gather(0, last)


def split_recorded(config: Config, count: int) -> tuple[range, range, range]:
    """Of so many recorded episodes those that models are trained on, the judge's, and, the last ones, nobody's."""
    kept = max(1, round(count * (1 - config.held_out)))
    own = kept - round(count * config.judge)
    if kept == count or own < 1 or (config.judge and own == kept):
        judged = f" and to set aside {config.judge} for the judge" if config.judge else ""
        raise UserError(
            f"{count} recorded episodes are too few to hold out a share of {config.held_out}{judged}; collect more "
            "control steps, or change the shares"
        )
    return range(own), range(own, kept), range(kept, count)
