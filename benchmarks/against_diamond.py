"""Our pixel world beside DIAMOND's own code (github.com/eloialonso/diamond, MIT), in one process, in turn.

    git clone https://github.com/eloialonso/diamond out/diamond
    python benchmarks/against_diamond.py out/diamond [--batches 4 16] [--side 64] [--threads N]

Both have the paper's U-Net (64 channels at four levels, two blocks each, four pictures of context), the same weights in
it, the same batches and the same precision; its outputs are compared first. Sampling is three steps of Euler's method,
training one denoising loss with its gradients, no optimiser. Where precision is bfloat16, both run under autocast. Each
figure is the median over `--repeats` calls that take turns, and what is compared is the ratio of the medians.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import torch
from torch import nn

from glocal.core.spec import Spec
from glocal.core.types import Segment
from glocal.models.codecs.cameras import CamerasCodec
from glocal.models.codecs.grid import GridCodecConfig
from glocal.models.worlds import pixels
from glocal.models.worlds.pixels import PixelConfig, PixelWorld
from glocal.models.worlds.unet import Block, UNet

CONTEXT, STEPS, TOLD, CHANNELS, BLOCKS = 4, 3, 256, (64, 64, 64, 64), 2
PRECISIONS = ("float32", "bfloat16")


def theirs(folder: Path, side: int) -> tuple[Any, Any]:
    """Their denoiser, ready to train, and its sampler; what their modules import beside PyTorch is left out."""
    stand_ins = {"data": {"Batch": Any}, "utils": {"LossAndLogs": Any, "init_lstm": None}}
    for name, content in stand_ins.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        sys.modules[name] = module
    package = ModuleType("models")
    package.__path__ = [str(folder / "src" / "models")]
    sys.modules["models"] = package
    from models.diffusion.denoiser import (  # pyright: ignore[reportMissingImports]
        Denoiser,
        DenoiserConfig,
        SigmaDistributionConfig,
    )
    from models.diffusion.diffusion_sampler import (  # pyright: ignore[reportMissingImports]
        DiffusionSampler,
        DiffusionSamplerConfig,
    )
    from models.diffusion.inner_model import InnerModelConfig  # pyright: ignore[reportMissingImports]

    none = [0] * len(CHANNELS)
    inner = InnerModelConfig(3, CONTEXT, TOLD, [BLOCKS] * len(CHANNELS), list(CHANNELS), none, num_actions=4)
    denoiser = Denoiser(DenoiserConfig(inner, 0.5, 0.3))
    denoiser.setup_training(SigmaDistributionConfig(-0.4, 1.2, 2e-3, 20.0))
    return denoiser, DiffusionSampler(denoiser, DiffusionSamplerConfig(STEPS))


def ours(side: int) -> PixelWorld:
    """Our world of the same architecture."""
    codec = CamerasCodec(GridCodecConfig(), (), {"image": side})
    return PixelWorld(PixelConfig(size=2, sampling_steps=STEPS, told_width=TOLD), Spec(codec.spec.parts, 2), codec)


def same_weights(net: UNet, other: Any) -> None:
    """Give their network random weights, and ours the same."""
    for parameter in other.parameters():
        nn.init.normal_(parameter, std=0.05)
    levels = range(len(CHANNELS))
    pairs = [
        *(
            (mine, its)
            for i in levels
            for mine, its in zip(_blocks(net.down.levels[i]), other.d_blocks[i].resblocks, strict=True)
        ),
        *(
            (mine, its)
            for i in levels
            for mine, its in zip(_blocks(net.up[i]), other.u_blocks[-1 - i].resblocks, strict=True)
        ),
        *zip(_blocks(net.middle.blocks), other.mid_blocks.resblocks, strict=True),
    ]
    for mine, its in pairs:
        for module, known in _matched(mine, its):
            module.load_state_dict(known.state_dict())
    for i in levels[:-1]:
        net.down.halved[i].load_state_dict(other.downsamples[i + 1].conv.state_dict())
        net.doubled[i].load_state_dict(other.upsamples[-1 - i].conv.state_dict())


def _blocks(level: Any) -> Iterator[Block]:
    return iter(level)


def _matched(mine: Any, its: Any) -> Iterator[tuple[nn.Module, nn.Module]]:
    yield from zip((*(norm.told for norm in mine.norms), *mine.convs),
                   (its.norm1.linear, its.norm2.linear, its.conv1, its.conv2), strict=True)  # fmt: skip
    if not isinstance(its.proj, nn.Identity):
        yield mine.around, its.proj
    if not isinstance(its.attn, nn.Identity):
        yield from zip((mine.attention.norm, mine.attention.ask, mine.attention.out),
                       (its.attn.norm.norm, its.attn.qkv_proj, its.attn.out_proj), strict=True)  # fmt: skip


@contextmanager
def at(precision: str) -> Iterator[None]:
    """Both in one precision: theirs under an autocast around it, ours by its own, or by none."""
    kept = pixels.half_precision
    if precision == "float32":
        pixels.half_precision = lambda device: nullcontext()
    try:
        with torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else nullcontext():
            yield
    finally:
        pixels.half_precision = kept


def seconds(work: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of a call of each, taking turns, after one that is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats + 1):
        for name, call in work.items():
            began = time.perf_counter()
            call()
            spent[name].append(time.perf_counter() - began)
    return {name: median(each[1:]) for name, each in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("diamond", type=Path)
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    denoiser, sampler = theirs(args.diamond, args.side)
    world = ours(args.side)
    same_weights(world.denoiser.unet, denoiser.inner_model.unet)
    maps, told = torch.randn(2, CHANNELS[0], args.side, args.side), torch.randn(2, TOLD)
    with torch.no_grad():
        found, expected = world.denoiser.unet(maps, told), denoiser.inner_model.unet(maps, told)[0]
    off, size = float((found - expected).abs().max()), float(expected.abs().max())
    print(f"the network's outputs differ by at most {off:.1e} of {size:.1f}")
    for precision in PRECISIONS:
        for batch in args.batches:
            with at(precision):
                compare(precision, batch, args, world, denoiser, sampler)


def compare(precision: str, batch: int, args: Any, world: PixelWorld, denoiser: Any, sampler: Any) -> None:
    """Print what both do in a second."""
    pictures = torch.randint(256, (batch, CONTEXT + 1, 3 * args.side**2), dtype=torch.uint8)
    flat = torch.ones(batch, CONTEXT + 1)
    segment = Segment(torch.zeros(batch, CONTEXT + 1, world.spec.obs_dim), torch.rand(batch, CONTEXT + 1, 2), flat, flat, pictures)  # fmt: skip  # noqa: E501
    window = world.seen(segment)
    begun, truth = window[:, :CONTEXT], window[:, CONTEXT]
    noise = torch.randn(batch, 3 * args.side**2)
    shown = window.pictures.unflatten(-1, (3, args.side, args.side))
    acted = torch.zeros(batch, CONTEXT + 1, dtype=torch.long)
    told = _Batch(shown, acted, torch.ones(batch, CONTEXT + 1, dtype=torch.bool))

    def sample() -> None:
        with torch.no_grad():
            world.sample(begun, truth.action, noise)

    def learn(loss: torch.Tensor, module: nn.Module) -> None:
        loss.backward()
        module.zero_grad()

    work = {
        "sampling, theirs": lambda: sampler.sample(shown[:, :CONTEXT], acted[:, :CONTEXT]),
        "sampling, ours": sample,
        "training, theirs": lambda: learn(denoiser(told)[0], denoiser),
        "training, ours": lambda: learn(world._denoising_loss(begun, truth)[0], world),
    }
    spent = seconds(work, args.repeats)
    for kind in ("sampling", "training"):
        its, mine = (spent[f"{kind}, {side}"] for side in ("theirs", "ours"))
        print(
            f"{precision}, batch {batch:3d}, {kind}: theirs {batch / its:8.1f}, ours {batch / mine:8.1f} a second, "
            f"{its / mine:.2f} times"
        )


class _Batch:
    """What their denoiser reads of a batch."""

    def __init__(self, obs: torch.Tensor, act: torch.Tensor, mask_padding: torch.Tensor):
        self.obs, self.act, self.mask_padding = obs, act, mask_padding


if __name__ == "__main__":
    main()
