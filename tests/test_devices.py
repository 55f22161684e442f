"""Training keeps to one device and never asks it for a number within an iteration.

On torch's `meta` device tensors have shapes and no values: meeting a tensor of another device raises, and so does
reading a value, which is what would make a GPU wait.
"""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from glocal.core.improve import PolicyIteration
from glocal.core.types import Segment
from glocal.data.segments import Recorded
from glocal.data.streams import ActionPart, Camera, RobotMapping, Stream
from glocal.models.codecs.egocentric import EgocentricCodecConfig
from glocal.models.worlds import diffusion, ensemble, memory, pixels, shortcut
from glocal.pipeline import build
from glocal.pipeline.config import PictureWorldConfig, RobotConfig
from glocal.pipeline.presets import PRESETS
from glocal.runtime.trainer import Fit

META = torch.device("meta")
DEBUG = [name for name, config in PRESETS.items() if name.endswith("-debug") and not config.env.id]


@pytest.fixture(autouse=True)
def without_generators(monkeypatch):
    """There are none on `meta`."""
    for world in (diffusion, ensemble, memory, pixels, shortcut):
        monkeypatch.setattr(world, "unit_noise", lambda key, shape, device: torch.randn(shape, device=device))


def source(config):
    spec, drawn = build.build_spec(config), isinstance(config.world, PictureWorldConfig)

    def draw(count, length):
        rows = {"obs": spec.obs_dim, "action": spec.action_dim}
        wide = {name: torch.zeros(count, length, size, device=META) for name, size in rows.items()}
        flat = torch.zeros(count, length, device=META)
        film = torch.zeros(count, length, 64 * 64 * 3, device=META).byte() if drawn else None
        known = wide["obs"] if isinstance(config.codec, EgocentricCodecConfig) else None
        return Segment(**wide, reward=flat, cont=flat, pictures=film, hindsight=known)

    return draw


def seeing(config):
    """The codec, which a world that draws pictures looks through, and does not move."""
    return build.build_codec(config).to(META)


def configured(preset):
    """A preset, with the streams of a robot where it has none of its own."""
    config = PRESETS[preset]
    if not isinstance(config.task, RobotConfig):
        return config
    streams = (Stream("joints", "observation.state", (0, 1, 2)),)
    action = (ActionPart("action", (0, 1, 2), (-1.0,) * 3, (1.0,) * 3),)
    cameras = (Camera("top", "observation.images.top"),) if config.task.images else ()
    return replace(config, task=replace(config.task, mapping=RobotMapping(streams, action, cameras=cameras)))


@pytest.mark.parametrize("preset", DEBUG)
def test_a_policy_iteration_stays_on_its_device(preset):
    config = configured(preset)
    world, surrogate = build.build_world(config, seeing(config)).to(META), build.build_surrogate(config).to(META)
    policy, critics = build.build_policy(config, surrogate).to(META), build.build_critics(config, surrogate).to(META)
    short = replace(config.learn, horizon=2, envs=4, refresh_size=2, critics_first=0)
    work = PolicyIteration(short, world.requires_grad_(False), policy, critics, source(config), source(config))
    for _ in range(2):
        metrics = work.iterate()
    assert metrics["imag/return"].device == META
    assert work.imagined.recent.obs.device == META


@pytest.mark.parametrize("preset", DEBUG)
def test_fitting_the_models_stays_on_their_device(preset):
    config = configured(preset)
    draw, world = source(config), build.build_world(config, seeing(config)).to(META)
    models_and_lengths = (
        (world, world.length),
        (build.build_surrogate(config).to(META), config.surrogate_length),
    )
    for model, length in models_and_lengths:
        fit = Fit(config.world_fit, model, lambda m=model, n=length: m.loss(draw(16, n)))
        assert fit.iterate()["train/loss"].device == META


@pytest.mark.parametrize(
    "preset", ["pusht-debug", "pusht-images-debug", "pusht-grid-debug", "pusht-memory-debug", "pusht-dreamer-debug"]
)
def test_fitting_a_codec_stays_on_its_device(preset):
    config = PRESETS[preset]
    codec = build.build_codec(config).to(META)
    shapes = {"image": (64, 64, 3), "agent": (2,)}
    fields = {name: torch.zeros(16, *shapes[name], device=META) for name in codec.reads}
    fields["image"] = fields["image"].byte()
    fit = Fit(config.codec_fit, codec, lambda: codec.loss(fields))
    assert fit.iterate()["train/loss"].device == META
    assert codec.decode(codec.encode(fields))["image"].device == META


def test_windows_are_cut_where_the_experience_is():
    flat = torch.ones(50)
    steps = Segment(flat[:, None], flat[:, None], flat, flat)
    whole = Recorded.joined(steps, torch.zeros(50, dtype=torch.long)).to(META)
    assert whole.draw(4, 5).obs.device == whole.starts(4, 5).obs.device == META


COMPILE = """
import torch
from glocal.pipeline import build
from glocal.pipeline.config import PictureWorldConfig, RobotConfig
from glocal.pipeline.presets import PRESETS
from glocal.core.types import Segment
from glocal.data.streams import ActionPart, RobotMapping, Stream

torch.manual_seed(0)
for preset in ("pusht-debug", "pusht-grid-debug"):
    config = PRESETS[preset]
    world = build.build_world(config, build.build_codec(config))
    length, dim = config.world.context, build.build_spec(config).obs_dim
    obs, action, noise = torch.rand(4, length, dim), torch.rand(4, length, 2), torch.randn(4, dim)
    fast = torch.compile(world.sample, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.allclose(fast(obs, action, noise), world.sample(obs, action, noise), atol=1e-5), preset

config = PRESETS["pusht-dreamer-debug"]
world = build.build_world(config, build.build_codec(config))
obs, flat = torch.rand(4, world.length, build.build_spec(config).obs_dim), torch.ones(4, world.length)
segment = Segment(obs, torch.rand(4, world.length, 2), flat, flat)
given = world.begin(segment, 0), segment.action[:, 0], torch.randn(2, 4, obs.shape[-1])
for work, told in (("sample", given), ("loss", (segment,))):
    found = []
    for fast in (getattr(world, work), torch.compile(getattr(world, work), backend="eager", fullgraph=True)):
        torch.manual_seed(0)
        found.append(fast(*told)[0])
    assert torch.allclose(*found, atol=1e-4), work

config = PRESETS["pusht-pixels-debug"]
world = build.build_world(config, build.build_codec(config))
obs, flat = torch.rand(4, world.length, build.build_spec(config).obs_dim), torch.ones(4, world.length)
pictures = torch.randint(256, (4, world.length, 3 * 64 * 64), dtype=torch.uint8)
segment = Segment(obs, torch.rand(4, world.length, 2), flat, flat, pictures)
seen, noise = world.begin(segment, 0).seen, torch.randn(4, 3 * 64 * 64)
for work, given in (("sample", (seen, segment.action[:, 0], noise)), ("loss", (segment,))):
    found = []
    for fast in (getattr(world, work), torch.compile(getattr(world, work), backend="eager", fullgraph=True)):
        torch.manual_seed(0)
        found.append(fast(*given))
    slow, fast = (one[0] if isinstance(one, tuple) else one for one in found)
    assert torch.allclose(slow, fast, atol=1e-4), work

config = PRESETS["pusht-motion-debug"]
world = build.build_world(config, build.build_codec(config))
obs, flat = torch.rand(4, world.length, build.build_spec(config).obs_dim), torch.ones(4, world.length)
pictures = torch.randint(256, (4, world.length, 3 * 64 * 64), dtype=torch.uint8)
segment = Segment(obs, torch.rand(4, world.length, 2), flat, flat, pictures)
context, answer, loss = world.begin(segment, 0), world.answer, world.loss
for fast, work in ((lambda: answer(context, segment.action[:, 0]).seen.pictures, "answer"),
                   (lambda: (torch.manual_seed(0), loss(segment)[0])[1], "loss")):
    slow = fast()
    setattr(world, work, torch.compile(getattr(world, work), backend="eager", fullgraph=True))
    answer, loss = world.answer, world.loss
    assert torch.allclose(fast(), slow, atol=1e-4), work
"""


def test_what_a_gpu_compiles_is_one_graph():
    """In a process of its own: the checks of shapes that tests run under are no part of what is compiled."""
    ran = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
