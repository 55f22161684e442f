"""Our Dreamer 4 dynamics beside a public implementation (github.com/nicklashansen/dreamer4, MIT), in one process.

    git clone https://github.com/nicklashansen/dreamer4 out/dreamer4
    python benchmarks/against_dreamer4.py out/dreamer4 [--contexts 32 96] [--size 1] [--batch 4] [--threads N]

Both have the same width, heads, layers, hidden width of the gated layers, time attention in the same layers, 64 noise
levels, and 20 tokens a step, 16 of which are latents of 32 numbers. The transformers differ in these ways only:

- each of their layers attends in space, and some in time as well; each of ours attends in one or the other;
- our queries and keys are normalised, with a learned scale of each head, and in time rotated (RoPE); theirs are not;
- their linear layers have biases, and their norms add 1e-6 to the variance (ours 1.2e-7);
- a norm follows our last layer, none theirs.

Around it they add sinusoids of token and time to all tokens (we add learned places to those of the observation), tell
noise level and stride in a token each (we in one, and have two registers to their one), and encode the action by a
hidden layer (we by none). Theirs is configured to be near ours: no agent token, all tokens of a step see one another.
Neither caps logits. Three are timed: "theirs", "ours", and "alike", which is our code with a transformer of their
architecture and weights; its outputs are compared with theirs first.

Sampling is one imagined step of four evaluations. Their public sampler has no cache: each evaluation runs over the
whole window, context and step. Ours keeps keys and values ("cache"), and needs a fifth evaluation, which adds the step
to them; filling the cache with the context ("begin") is done once a rollout. "window" is our network without its cache,
over as much as theirs; what it samples is compared with what the cache gives. `step` predicts reward and continuation
too. Training is a forward and a backward pass of the network, then of the whole loss of shortcut forcing, where one in
four windows learns longer strides; no optimiser. For the targets of those they record a graph, and we do not; our loss
has those of reward and continuation in it.

In bfloat16 theirs runs under an autocast around it, ours under its own. Operations are counted as in cost.py. Each
figure is the median of the CPU seconds of `--repeats` calls that take turns, and the ratio is that of the medians.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import torch
from against_diamond import PRECISIONS
from cost import counted
from torch import Tensor, nn

from glocal.core.spec import Part, Spec
from glocal.core.types import Segment
from glocal.models.transformer import Attention, BlockCausal, SpaceAttention, TimeAttention
from glocal.models.worlds import shortcut
from glocal.models.worlds.diffusion import unit_noise
from glocal.models.worlds.shortcut import SIZES, Levels, ShortcutConfig, ShortcutWorld

LATENTS, CHANNELS, ACTIONS, WINDOW, FINEST, STEPS = 16, 32, 16, 32, 64, 4
Work = dict[str, Callable[[], object]]


class Plain(Attention):
    """Attention whose queries and keys are not normalised."""

    def asked(self, x: Tensor) -> list[Tensor]:
        return list(self.ask(x).unflatten(-1, (3, self.heads, -1)).unbind(-3))


class PlainSpace(Plain, SpaceAttention):
    """Plain attention among the tokens of each step."""


class PlainTime(Plain, TimeAttention):
    """Plain attention of each token to itself at the steps before, by which nothing is turned."""

    def turned(self, x: Tensor, when: object) -> Tensor:
        return x


class Alone(nn.Module):
    """Space attention around what it is given, normalised, without a gated layer behind it."""

    def __init__(self, attention: SpaceAttention, before: nn.Module):
        super().__init__()
        self.attention, self.before = attention, before

    def forward(self, x: Tensor, when: object, past: object) -> tuple[Tensor, None, None]:
        return x + self.attention(self.before(x)), None, None


def loaded(folder: Path) -> tuple[Any, Any]:
    """Their modules of the network and of its training; what the latter imports only to log is left out."""
    sys.modules.setdefault("wandb", ModuleType("wandb"))
    sys.path.insert(0, str(folder / "dreamer4"))
    import model  # pyright: ignore[reportMissingImports]
    import train_dynamics  # pyright: ignore[reportMissingImports]

    return model, train_dynamics


def theirs(model: Any, size: int) -> Any:
    """Their dynamics with random weights, none of which is zero."""
    width, layers, heads, every = SIZES[size]
    layer: Any = BlockCausal(width, heads, 1, 1, 2).layers[0]
    dynamics = model.Dynamics(
        d_model=width,
        d_bottleneck=CHANNELS,
        d_spatial=CHANNELS,
        n_spatial=LATENTS,
        n_register=1,
        n_agent=0,
        n_heads=heads,
        depth=layers,
        k_max=FINEST,
        mlp_ratio=layer.gated.leave.in_features / width,
        time_every=every,
        space_mode="wm_agent",
        scale_pos_embeds=False,
    )
    for parameter in dynamics.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return dynamics


def ours(size: Any, context: int) -> ShortcutWorld:
    """Our world, which looks back at as many steps as its context has."""
    cfg = ShortcutConfig(context, context + 1, WINDOW, size, finest=FINEST, sampling_steps=STEPS)
    return ShortcutWorld(cfg, Spec((Part("latents", (LATENTS, CHANNELS)),), ACTIONS))


def alike(size: int, context: int, other: Any) -> ShortcutWorld:
    """Our world with a transformer of their architecture and weights."""
    world = ours(size, context)
    net: Any = world.net
    layers = []
    for mine, its in zip(net.layers, other.layers, strict=True):
        layer: Any = mine
        layer.attention = _filled(PlainSpace(net.width, net.heads), its.space.attn)
        layer.before, layer.between = _norm(its.norm1), _norm(its.norm3)
        if its.do_time:
            layers.append(Alone(layer.attention, layer.before))
            layer.attention = _filled(PlainTime(net.width, net.heads), its.time.attn)
            layer.before = _norm(its.norm2)
        layer.gated.enter, layer.gated.leave = copy.deepcopy(its.mlp.fc_in), copy.deepcopy(its.mlp.fc_out)
        for parameter in layer.gated.enter.parameters():  # our gate comes before what it gates, theirs behind it
            parameter.data = parameter.data.roll(len(parameter) // 2, 0)
        layers.append(layer)
    net.layers, net.norm = nn.ModuleList(layers), nn.Identity()
    return world


def both(size: int, context: int, dynamics: Any) -> dict[str, ShortcutWorld]:
    """Our world with their transformer's architecture and weights, and with its own."""
    return {"alike": alike(size, context, dynamics.transformer), "ours": ours(size, context)}


def _filled(attention: Any, its: Any) -> Any:
    attention.ask, attention.out = copy.deepcopy(its.qkv), copy.deepcopy(its.out)
    del attention.sharpness
    return attention


def _norm(its: Any) -> nn.RMSNorm:
    norm = nn.RMSNorm(len(its.scale), its.eps)
    norm.weight.data.copy_(its.scale)
    return norm


def whole_window(world: ShortcutWorld, past: Tensor, action: Tensor, noise: Tensor) -> Tensor:
    """The observation (B, d) that noise (B, d) becomes behind what was seen (B, T, d) and noised, every evaluation
    running over all steps; actions are (B, T + 1, a)."""
    finest, steps, x = world.cfg.finest, world.cfg.sampling_steps, noise[:, None]
    times = torch.arange(action.shape[1]).expand(len(action), -1)
    levels = Levels(torch.full_like(times, seen_level(world)), torch.ones_like(times))
    levels.stride[:, -1] = finest // steps
    for k in range(steps):
        levels.signal[:, -1] = k * finest // steps
        clean, _ = world._clean(torch.cat([past, x], 1), action, levels, times, None)
        x = x + (clean[:, -1:] - x) / (steps - k)
    return world.spec.bounded(x[:, 0] * world.scale + world.mean)


def seen_level(world: ShortcutWorld) -> int:
    """The signal level that what was seen is noised to."""
    return min(world.cfg.finest - 1, round((1 - world.cfg.context_noise) * world.cfg.finest))


def noised(world: ShortcutWorld, obs: Tensor, key: int) -> Tensor:
    """What was seen (B, T, d), noised as `begin` does by its key."""
    share = seen_level(world) / world.cfg.finest
    return share * world._normal(obs) + (1 - share) * unit_noise(key, obs.shape, obs.device)


def scenes(batch: int, steps: int) -> Segment:
    """Random observations and actions of as many steps."""
    obs, flat = torch.randn(batch, steps, LATENTS * CHANNELS).clamp(-1, 1), torch.ones(batch, steps)
    return Segment(obs, 2 * torch.rand(batch, steps, ACTIONS) - 1, flat, flat)


@contextmanager
def at(precision: str) -> Iterator[Callable[[], Any]]:
    """Our worlds in one precision, by their own autocast or by none, and what theirs is to run under."""
    kept = shortcut.half_precision
    if precision == "float32":
        shortcut.half_precision = lambda device: nullcontext()
    try:
        yield lambda: torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    finally:
        shortcut.half_precision = kept


def sampling(training: Any, dynamics: Any, worlds: dict[str, ShortcutWorld], seen: Segment, cast: Any) -> Work:
    """Every way to imagine the last step of what was seen, behind the others."""
    latents = seen.obs[:, :-1].unflatten(-1, (LATENTS, CHANNELS))
    schedule = training.make_tau_schedule(k_max=FINEST, schedule="shortcut", d=1 / STEPS)
    noise = torch.randn(len(seen.obs), LATENTS * CHANNELS)

    def its() -> None:
        with cast():
            training.sample_one_timestep_packed(
                dynamics, past_packed=latents, k_max=FINEST, sched=schedule, actions=seen.action
            )

    work: Work = {"theirs, window": its}
    for name, world in worlds.items():
        work |= {f"{name}, {how}": call for how, call in _sampling(world, seen, noise)}
    return work


@torch.no_grad()
def _sampling(world: ShortcutWorld, seen: Segment, noise: Tensor) -> Iterator[tuple[str, Callable[[], object]]]:
    before, action = seen[:, :-1], seen.action[:, -1]
    past, begun = noised(world, before.obs, 0), world.begin(before, 0)
    for how, call in (
        ("window", lambda: whole_window(world, past, seen.action, noise)),
        ("cache", lambda: world.step(begun, action)),
        ("begin", lambda: world.begin(before, 0)),
    ):
        yield how, torch.no_grad()(call)


def evaluating(dynamics: Any, worlds: dict[str, ShortcutWorld], seen: Segment, cast: Any) -> Work:
    """A forward and a backward pass of each network."""
    levels = next(iter(worlds.values()))._levels(len(seen.obs), WINDOW, 1, seen.obs.device)
    strides = FINEST.bit_length() - 1 - levels.stride.float().log2().round().long()
    latents = seen.obs.unflatten(-1, (LATENTS, CHANNELS))
    times = torch.arange(WINDOW).expand(len(seen.obs), -1)

    def its() -> None:
        with cast():
            found = dynamics(seen.action, strides, levels.signal, latents)[0]
        learn(found.float().square().mean(), dynamics)

    def mine(world: ShortcutWorld) -> None:
        learn(world._clean(seen.obs, seen.action, levels, times, None)[0].square().mean(), world)

    return {"theirs": its, **{name: lambda world=world: mine(world) for name, world in worlds.items()}}


def losing(training: Any, dynamics: Any, worlds: dict[str, ShortcutWorld], seen: Segment, cast: Any) -> Work:
    """The whole loss of each and its gradients."""
    latents = seen.obs.unflatten(-1, (LATENTS, CHANNELS))
    some = max(1, round(ShortcutConfig().bootstrap * len(latents)))

    def its() -> None:
        with cast():
            loss, _ = training.dynamics_pretrain_loss(
                dynamics,
                z1=latents,
                actions=seen.action,
                act_mask=None,
                k_max=FINEST,
                B_self=some,
                step=1,
                bootstrap_start=0,
            )
        learn(loss, dynamics)

    return {
        "theirs": its,
        **{name: lambda world=world: learn(world.loss(seen)[0], world) for name, world in worlds.items()},
    }


def learn(loss: Tensor, module: nn.Module) -> None:
    loss.backward()
    module.zero_grad()


@torch.no_grad()
def show_agreement(dynamics: Any, worlds: dict[str, ShortcutWorld], seen: Segment) -> None:
    """Print how far the transformers are apart, and our two ways to sample."""
    net = worlds["alike"].net
    tokens = torch.randn(*seen.reward.shape, 4 + LATENTS, net.width)
    times = torch.arange(tokens.shape[1]).expand(len(tokens), -1)
    _difference("transformers, theirs and alike", net(tokens, times)[0], dynamics.transformer(tokens))
    for name, world in worlds.items():
        noise = torch.randn(2, len(tokens), LATENTS * CHANNELS)
        cached, _, _ = world.sample(world.begin(seen[:, :-1], 0), seen.action[:, -1], noise)
        past = noised(world, seen.obs[:, :-1], 0)
        _difference(f"samples, {name}, window and cache", whole_window(world, past, seen.action, noise[0]), cached)


def _difference(what: str, found: Tensor, expected: Tensor) -> None:
    off, size = float((found - expected).abs().max()), float(expected.abs().max())
    print(f"{what}: outputs differ by at most {off:.1e} of {size:.1f}")


def show_parameters(dynamics: Any, worlds: dict[str, ShortcutWorld]) -> None:
    """Print how many numbers each learns."""
    parts = {"theirs": (dynamics, dynamics.transformer), **{name: (w, w.net) for name, w in worlds.items()}}
    for name, (whole, net) in parts.items():
        all_of, inner = (sum(p.numel() for p in module.parameters()) for module in (whole, net))
        print(f"{name}: {all_of:,} parameters, {inner:,} of them the transformer's")


def seconds(work: Work, repeats: int) -> dict[str, float]:
    """Median CPU seconds of a call of each, taking turns, after one that is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats + 1):
        for name, call in work.items():
            began = time.process_time()
            call()
            spent[name].append(time.process_time() - began)
    return {name: median(each[1:]) for name, each in spent.items()}


def show(what: str, work: Work, repeats: int) -> None:
    """Print operations and seconds of each call, and how many times as fast it is as theirs, which is the first."""
    spent = seconds(work, repeats)
    theirs = next(iter(spent.values()))
    for name, call in work.items():
        giga, each = counted(call) / 1e9, spent[name]
        ratio = f"{theirs / each:7.2f}" if not name.endswith("begin") else ""
        print(f"{what:30} {name:15} {giga:8.2f} {1e3 * each:9.1f} {giga / each:9.1f} {ratio}".rstrip(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dreamer4", type=Path)
    parser.add_argument("--contexts", type=int, nargs="+", default=[32, 96])
    parser.add_argument("--size", type=int, default=1, choices=range(len(SIZES)))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model, training = loaded(args.dreamer4)
    dynamics = theirs(model, args.size)
    width, layers, heads, every = SIZES[args.size]
    print(f"width {width}, {layers} layers, {heads} heads, in time every {every}, batch {args.batch}")
    worlds = both(args.size, WINDOW, dynamics)
    show_parameters(dynamics, worlds)
    with at("float32"):
        show_agreement(dynamics, worlds, scenes(args.batch, WINDOW + 1))
    print(f"{'':30} {'':15} {'GFLOP':>8} {'ms':>9} {'GFLOP/s':>9} {'ratio':>7}")
    for precision in PRECISIONS:
        with at(precision) as cast:
            for context in args.contexts:
                seen, looking = scenes(args.batch, context + 1), both(args.size, context, dynamics)
                work = sampling(training, dynamics, looking, seen, cast)
                show(f"{precision}, sampling after {context}", work, args.repeats)
            seen = scenes(args.batch, WINDOW)
            show(f"{precision}, training, network", evaluating(dynamics, worlds, seen, cast), args.repeats)
            show(f"{precision}, training, loss", losing(training, dynamics, worlds, seen, cast), args.repeats)


if __name__ == "__main__":
    main()
