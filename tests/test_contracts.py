"""What every world, surrogate and codec promises. A new one is one more line here."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from glocal.core.features import StandardConfig
from glocal.core.gradients import decouple, infer_noise
from glocal.core.rollout import warm_up
from glocal.core.spec import Part, Spec
from glocal.core.types import Pairs, Segment, World
from glocal.models.arrangements import ArrangementConfig
from glocal.models.carried import CarriedConfig
from glocal.models.codecs.cameras import CamerasCodec
from glocal.models.codecs.compact import CompactCodecConfig
from glocal.models.codecs.grid import GridCodecConfig
from glocal.models.codecs.identity import IdentityCodec
from glocal.models.codecs.keypoints import KeypointCodec, KeypointCodecConfig
from glocal.models.codecs.points import PointsCodecConfig
from glocal.models.codecs.tokenizer import TokenizerConfig
from glocal.models.rigid2d.scene import SceneConfig, scene_spec
from glocal.models.surrogates.mlp import MLPSurrogate, MLPSurrogateConfig
from glocal.models.surrogates.rssm import RSSM, RSSMConfig
from glocal.models.worlds.cameras import CamerasWorld, CamerasWorldConfig
from glocal.models.worlds.diffusion import Denoiser
from glocal.models.worlds.ensemble import EnsembleConfig, EnsembleWorld
from glocal.models.worlds.hindsight import HindsightWorld
from glocal.models.worlds.memory import MemoryConfig, MemoryWorld
from glocal.models.worlds.motion import MotionConfig, MotionWorld
from glocal.models.worlds.pixels import PixelConfig, PixelWorld
from glocal.models.worlds.shortcut import ShortcutConfig, ShortcutWorld
from glocal.models.worlds.vectors import VectorWorld, VectorWorldConfig

RIGID, LOOSE = scene_spec(8), scene_spec(5)
PLACES = ArrangementConfig()
BODY, POINTS = SceneConfig(rigid=True, reach=0.2), SceneConfig(rigid=False, reach=0.2)
CELLS = Spec((Part("agent", (2,)), Part("image", (2, 4, 4))), 2)
ARM, PLAIN = Spec((Part("joints", (7,)), Part("cube", (3,)), Part("goal", (3,))), 4), StandardConfig()
SEEN = Spec((Part("joints", (7,)), Part("top", (2, 4, 4)), Part("wrist", (2, 4, 4))), 4)
WORDS = Spec((Part("joints", (7,)), Part("top", (3, 2))), 4)
DOTS = Spec((Part("joints", (7,)), Part("top", (3, 2)), Part("side", (4, 2))), 4)
EGO, CARRIED = Spec((Part("felt", (3,)), Part("head", (6,))), 2), CarriedConfig(3)
BLIND = Spec((Part("top", (2, 4, 4)),), 3)
TINY = GridCodecConfig(channels=2, width=8, blocks=1)
SHOWN = CamerasCodec(TINY, (), {"image": 32})
SHOWN_ARM = CamerasCodec(TINY, (Part("joints", (7,)),), {"keys": 32, "wrist": 64})
SHOWN_PAIR = CamerasCodec(TINY, (Part("joints", (6,)),), {"keys": 32, "wrist": 32})
FILMED_PAIR = Spec(SHOWN_PAIR.spec.parts, 4)
FILMED, FILMED_ARM = Spec(SHOWN.spec.parts, 2), Spec(SHOWN_ARM.spec.parts, 4)
FILMS = {FILMED: 32 * 32 * 3, FILMED_PAIR: 2 * 32 * 32 * 3, FILMED_ARM: 3 * (32 * 32 + 64 * 64)}
"""Bytes of the pictures that worlds which draw pictures begin from."""
SHORT = ShortcutConfig(context=3, back=4, window=5, size=0, finest=8, bootstrap=0.5)
TOKENS = TokenizerConfig(tokens=3, channels=2, size=0)
NARROW = CompactCodecConfig(numbers=6, width=8)
DOTTED = PointsCodecConfig(points=3, side=16, width=8)
SMALL = KeypointCodecConfig(points=5, width=8)


def the_cube_is_lost(before: Tensor, so: Tensor) -> Tensor:
    """Of `ARM`, what a robot knows that has lost sight of its cube."""
    return torch.cat([so[..., :7], before[..., 7:10], so[..., 10:]], dim=-1)


def as_it_was(obs: Tensor, starts: Tensor) -> Tensor:
    return obs


WORLDS = {
    "vectors, a rigid body": (lambda: VectorWorld(VectorWorldConfig(size=0), RIGID, BODY), RIGID),
    "vectors, loose points": (lambda: VectorWorld(VectorWorldConfig(size=0), LOOSE, POINTS), LOOSE),
    "vectors": (lambda: VectorWorld(VectorWorldConfig(size=0), ARM, PLAIN), ARM),
    "vectors, places around it": (lambda: VectorWorld(VectorWorldConfig(size=0), EGO, CARRIED), EGO),
    "vectors, points of cameras": (lambda: VectorWorld(VectorWorldConfig(size=0), DOTS, PLACES), DOTS),
    "memory": (lambda: MemoryWorld(MemoryConfig(context=3, window=6, size=0), ARM, PLAIN), ARM),
    "memory, tokens": (lambda: MemoryWorld(MemoryConfig(context=2, window=6, size=0), WORDS, PLAIN), WORDS),
    "ensemble": (lambda: EnsembleWorld(EnsembleConfig(context=3, members=3, size=0), ARM, PLAIN), ARM),
    "cameras": (lambda: CamerasWorld(CamerasWorldConfig(size=0), SEEN), SEEN),
    "motion": (lambda: MotionWorld(MotionConfig(size=0, parts=2), FILMED, SHOWN), FILMED),
    "motion, affine, numbers, two cameras": (
        lambda: MotionWorld(MotionConfig(size=0, parts=2, motion="affine"), FILMED_ARM, SHOWN_ARM),
        FILMED_ARM,
    ),
    "pixels": (lambda: PixelWorld(PixelConfig(size=0, reward_steps=5), FILMED, SHOWN), FILMED),
    "pixels in patches, changes, numbers, two cameras": (
        lambda: PixelWorld(
            PixelConfig(size=0, patch=4, diffuse="change", solver="heun", sigma_data=0.2, worst=0.1, reward_steps=5),
            FILMED_PAIR,
            SHOWN_PAIR,
        ),
        FILMED_PAIR,
    ),
    "shortcut": (lambda: ShortcutWorld(replace(SHORT, pack=2), SEEN), SEEN),
    "shortcut, tokens": (lambda: ShortcutWorld(SHORT, WORDS), WORDS),
    "shortcut, vectors": (lambda: ShortcutWorld(SHORT, ARM), ARM),
    "of what is known afterwards": (
        lambda: HindsightWorld(VectorWorld(VectorWorldConfig(size=0), ARM, PLAIN), the_cube_is_lost, as_it_was),
        ARM,
    ),
    "a camera alone": (lambda: CamerasWorld(CamerasWorldConfig(size=0), BLIND), BLIND),
}
SURROGATES = {
    "mlp, rigid": (lambda: MLPSurrogate(MLPSurrogateConfig(width=16, blocks=1), RIGID, BODY), RIGID),
    "mlp, loose": (lambda: MLPSurrogate(MLPSurrogateConfig(width=16, blocks=1), LOOSE, POINTS), LOOSE),
    "mlp": (lambda: MLPSurrogate(MLPSurrogateConfig(width=16, blocks=1), ARM, PLAIN), ARM),
    "mlp, places around it": (lambda: MLPSurrogate(MLPSurrogateConfig(width=16, blocks=1), EGO, CARRIED), EGO),
    "mlp, points of cameras": (lambda: MLPSurrogate(MLPSurrogateConfig(width=16, blocks=1), DOTS, PLACES), DOTS),
    "rssm": (lambda: RSSM(RSSMConfig("gaussian", 16, 4, 4, 16), ARM), ARM),
    "rssm, gaussian": (lambda: RSSM(RSSMConfig("gaussian", 16, 4, 4, 16), LOOSE), LOOSE),
    "rssm, of a grid": (lambda: RSSM(RSSMConfig("gaussian", 16, 4, 4, 16), CELLS), CELLS),
    "rssm, of cameras": (lambda: RSSM(RSSMConfig("gaussian", 16, 4, 4, 16), SEEN), SEEN),
    "rssm, of tokens": (lambda: RSSM(RSSMConfig("gaussian", 16, 4, 4, 16), WORDS), WORDS),
    "rssm, categorical": (lambda: RSSM(RSSMConfig("categorical", 16, 4, 4, 16), LOOSE), LOOSE),
}
PREDICTORS = {MLPSurrogate: "body", RSSM: "prior"}
"""The part that says what the next step brings; a loss calls it for one step after the other, or for all at once."""
CODECS = {
    "identity": (lambda: IdentityCodec(512.0), {"keypoints": (16,), "agent": (2,)}, 18),
    "keypoints": (lambda: KeypointCodec(SMALL, 512.0), {"image": (64, 64, 3), "agent": (2,)}, 12),
    "keypoints, the agent among them": (
        lambda: KeypointCodec(SMALL, 512.0, agent_known=False),
        {"image": (64, 64, 3)},
        12,
    ),
    "cameras": (
        lambda: CamerasCodec(TINY, (Part("joints", (7,)),), {"keys": 64, "wrist": 32}),
        {"joints": (7,), "keys": (64, 64, 3), "wrist": (32, 32, 3)},
        7 + 2 * 128,
    ),
    "cameras, tokens": (
        lambda: CamerasCodec(TOKENS, (Part("joints", (7,)),), {"keys": 64, "wrist": 32}),
        {"joints": (7,), "keys": (64, 64, 3), "wrist": (32, 32, 3)},
        7 + 2 * 6,
    ),
    "cameras, narrow": (
        lambda: CamerasCodec(NARROW, (Part("joints", (7,)),), {"keys": 64, "wrist": 32}),
        {"joints": (7,), "keys": (64, 64, 3), "wrist": (32, 32, 3)},
        7 + 2 * 6,
    ),
    "cameras, points": (
        lambda: CamerasCodec(DOTTED, (Part("joints", (7,)),), {"keys": 64, "wrist": 32}),
        {"joints": (7,), "keys": (64, 64, 3), "wrist": (32, 32, 3)},
        7 + 2 * (6 + 2 * DOTTED.landmarks),
    ),
    "cameras that share an autoencoder": (
        lambda: CamerasCodec(replace(TINY, shared=True), (), {"left": 32, "right": 32}),
        {"left": (32, 32, 3), "right": (32, 32, 3)},
        2 * 128,
    ),
}


def experience(spec: Spec, count: int = 3, length: int = 5) -> Segment:
    """A body that moves about a little, and an agent that acts at random."""
    obs = torch.rand(1, 1, spec.obs_dim) * 0.4 + 0.02 * torch.randn(count, length, spec.obs_dim).cumsum(1)
    pictures = torch.randint(256, (count, length, FILMS[spec]), dtype=torch.uint8) if spec in FILMS else None
    action, reward = torch.rand(count, length, spec.action_dim) * 2 - 1, torch.rand(count, length)
    return Segment(obs, action, reward, torch.ones(count, length), pictures)


def built(make: Callable[[], Any], spec: Spec) -> Any:
    torch.manual_seed(0)
    model = make()
    if hasattr(model, "fit_statistics"):
        seen = experience(spec, 20)
        model.fit_statistics(Pairs(seen.obs[:, 0], seen.action[:, 1], seen.obs[:, 1], seen.reward[:, 1]))
    for parameter in model.parameters():  # so that what starts at zero takes part
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("name", WORLDS)
class TestWorlds:
    def test_keeps_the_protocol_and_the_shapes(self, name):
        make, spec = WORLDS[name]
        world, segment = built(make, spec), experience(spec)
        assert isinstance(world, World)
        _, seen = world.step(world.begin(segment, 0), torch.zeros(3, spec.action_dim))
        assert seen.obs.shape == (3, spec.obs_dim)
        assert seen.reward.shape == seen.cont.shape == (3,)
        assert ((seen.cont >= 0) & (seen.cont <= 1)).all()

    def test_the_same_context_and_action_give_the_same_answer(self, name):
        make, spec = WORLDS[name]
        world = built(make, spec)
        context, action = world.begin(experience(spec), 7), torch.rand(3, spec.action_dim)
        first, torch_state = world.step(context, action)[1], torch.get_rng_state()
        again = world.step(context, action)[1]
        assert torch.equal(first.obs, again.obs) and torch.equal(first.reward, again.reward)
        assert torch.equal(torch_state, torch.get_rng_state())

    def test_another_key_is_another_draw(self, name):
        make, spec = WORLDS[name]
        world, segment = built(make, spec), experience(spec)
        one, two = (world.step(world.begin(segment, key), torch.zeros(3, spec.action_dim))[1] for key in (0, 1))
        assert torch.equal(one.obs, two.obs) == isinstance(world, MotionWorld)  # which draws nothing at random

    def test_elements_of_a_batch_do_not_meet(self, name):
        make, spec = WORLDS[name]
        world, segment, action = built(make, spec), experience(spec), torch.rand(3, spec.action_dim)
        before = world.step(world.begin(segment, 0), action)[1]
        action[1] = -action[1]
        after = world.step(world.begin(segment, 0), action)[1]
        assert torch.allclose(before.obs[[0, 2]], after.obs[[0, 2]], atol=1e-6)
        assert not torch.allclose(before.obs[1], after.obs[1], atol=1e-6)

    def test_noise_covers_the_largest_recorded_change(self, name):
        make, spec = WORLDS[name]
        world, still = make(), experience(spec, 50).obs[:, 0]
        after = still.clone()
        after[3] += 0.5  # one in fifty moves, and far
        world.fit_statistics(Pairs(still, torch.zeros(50, spec.action_dim), after, torch.zeros(50)))
        if isinstance(world, Denoiser):
            assert world.first_sigma >= world.delta(still, after).abs().max()

    def test_its_loss_is_a_finite_scalar(self, name):
        make, spec = WORLDS[name]
        world = built(make, spec)
        loss, metrics = world.loss(experience(spec, length=world.length))
        assert loss.shape == () and torch.isfinite(loss)
        assert all(metric.shape == () for metric in metrics.values())


@pytest.mark.parametrize("name", SURROGATES)
class TestSurrogates:
    def test_shapes(self, name):
        make, spec = SURROGATES[name]
        surrogate, segment = built(make, spec), experience(spec)
        belief = warm_up(surrogate, segment)
        assert belief.feat.shape == (3, surrogate.feat_dim)
        assert surrogate.reward(belief).shape == (3,)
        assert surrogate.cont(belief).shape == (3,) and surrogate.cont(belief).sub(0.5).abs().le(0.5).all()
        assert surrogate.observe(belief).shape == (3, spec.obs_dim)

    def test_prior_and_posterior_have_the_same_form(self, name):
        make, spec = SURROGATES[name]
        surrogate, segment = built(make, spec), experience(spec)
        prior = surrogate.predict(surrogate.initial(segment.obs[:, 0]), segment.action[:, 1])
        posterior = surrogate.correct(prior, segment.obs[:, 1])
        assert type(prior) is type(posterior)
        prior.tensors(_same_shape, posterior)

    @pytest.mark.parametrize("link", [decouple, infer_noise])
    def test_links_that_keep_values_keep_every_field_of_its_beliefs(self, name, link):
        make, spec = SURROGATES[name]
        surrogate, segment = built(make, spec), experience(spec)
        action = segment.action[:, 1].clone().requires_grad_()
        prior = surrogate.predict(surrogate.initial(segment.obs[:, 0]), action)
        posterior = surrogate.correct(prior, segment.obs[:, 1])
        linked = link(posterior, prior)
        assert torch.equal(linked.feat, posterior.feat)
        (slope,) = torch.autograd.grad(surrogate.reward(linked).sum(), action)
        assert slope.abs().sum() > 0

    def test_what_it_predicts_is_differentiable_in_the_action(self, name):
        make, spec = SURROGATES[name]
        surrogate, segment = built(make, spec), experience(spec)
        action = torch.rand(3, spec.action_dim, requires_grad=True)
        prior = surrogate.predict(warm_up(surrogate, segment), action)
        (slope,) = torch.autograd.grad(surrogate.reward(prior).sum(), action)
        assert torch.isfinite(slope).all() and slope.abs().sum() > 0

    def test_elements_of_a_batch_do_not_meet(self, name):
        make, spec = SURROGATES[name]
        surrogate, segment = built(make, spec), experience(spec)
        action = torch.rand(3, spec.action_dim, requires_grad=True)
        torch.manual_seed(0)
        prior = surrogate.predict(warm_up(surrogate, segment), action)
        (slope,) = torch.autograd.grad(prior.feat[1].sum(), action)
        assert torch.equal(slope[[0, 2]], torch.zeros(2, spec.action_dim))

    def test_a_belief_does_not_look_ahead_and_does_look_at_all_before(self, name):
        """Which rows the losses look at is tested by hand in tests/models/surrogates."""
        make, spec = SURROGATES[name]
        surrogate, segment = built(make, spec), experience(spec)
        obs, action = segment.obs.clone().requires_grad_(), segment.action.clone().requires_grad_()
        torch.manual_seed(0)
        whole = Segment(obs, action, segment.reward, segment.cont)
        belief = surrogate.predict(warm_up(surrogate, whole[:, :3]), whole.action[:, 3])
        by_obs, by_action = torch.autograd.grad(belief.feat.pow(2).sum(), (obs, action))
        assert torch.equal(by_obs[:, 3:], torch.zeros_like(by_obs[:, 3:])) and by_obs[:, 2].abs().sum() > 0
        assert torch.equal(by_action[:, 4:], torch.zeros_like(by_action[:, 4:])) and by_action[:, 3].abs().sum() > 0

    def test_what_its_loss_predicts_of_a_step_depends_on_its_action_and_on_what_was_seen_before_it_alone(self, name):
        make, spec = SURROGATES[name]
        surrogate, segment = built(make, spec), experience(spec, 1, 6)
        obs, action = segment.obs.clone().requires_grad_(), segment.action.clone().requires_grad_()
        predicted = []
        predictor = getattr(surrogate, PREDICTORS[type(surrogate)])
        predictor.register_forward_hook(lambda module, inputs, output: predicted.append(output))
        surrogate.loss(Segment(obs, action, segment.reward, segment.cont))
        for step, row in zip((5, 4, 3, 2), torch.cat(predicted).flip(0), strict=False):
            seen, done = torch.autograd.grad(row.sum(), (obs, action), retain_graph=True)
            assert not seen[0, step:].any() and seen[0, step - 1].any()
            assert not done[0, step + 1 :].any() and done[0, step].any()

    def test_it_learns_where_episodes_end(self, name):
        make, spec = SURROGATES[name]
        surrogate, segment = built(make, spec), experience(spec, 32, 3)
        ends = torch.arange(32) % 2 == 0
        cont = torch.stack([torch.ones(32), torch.ones(32), 1 - ends.float()], dim=1)
        elsewhere = 1.0 * ends[:, None, None] * torch.tensor([0.0, 0.0, 1.0])[:, None]
        segment = Segment(segment.obs + elsewhere, segment.action, segment.reward, cont)
        optimizer = torch.optim.Adam(surrogate.parameters(), 1e-2)
        for _ in range(150):
            loss, _ = surrogate.loss(segment)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found = surrogate.cont(warm_up(surrogate, segment))
        assert found[~ends].mean() > found[ends].mean() + 0.2

    def test_what_comes_after_an_end_does_not_count_in_its_loss(self, name):
        make, spec = SURROGATES[name]
        surrogate, segment = built(make, spec), experience(spec)
        cont = segment.cont.clone()
        cont[:, 2] = 0
        after = [segment.obs.clone(), segment.action.clone(), segment.reward.clone(), cont.clone()]
        for field in after[:3]:
            field[:, 3:] += 1.0
        after[3][:, 3:] = 0.3
        losses = []
        for one in (Segment(segment.obs, segment.action, segment.reward, cont), Segment(*after)):
            torch.manual_seed(0)
            losses.append(float(surrogate.loss(one)[0].detach()))
        assert losses[0] == losses[1]

    def test_its_loss_is_a_finite_scalar_and_falls(self, name):
        make, spec = SURROGATES[name]
        surrogate, segment = built(make, spec), experience(spec, 16, 6)
        optimizer = torch.optim.Adam(surrogate.parameters(), 1e-2)
        losses = []
        for _ in range(40):
            loss, _ = surrogate.loss(segment)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", CODECS)
class TestCodecs:
    def fields(self, shapes):
        torch.manual_seed(0)
        random = {key: torch.rand(2, 3, *shape) * 255 for key, shape in shapes.items()}
        return {key: x.byte() if shapes[key][-1:] == (3,) and len(shapes[key]) == 3 else x for key, x in random.items()}

    def test_reads_what_it_says_and_gives_numbers_in_range(self, name):
        make, shapes, dim = CODECS[name]
        codec = make()
        if isinstance(codec, CamerasCodec):  # which standardises vectors
            codec.fit_statistics({key: x.flatten(0, 1) for key, x in self.fields(shapes).items()})
        assert set(codec.reads) == set(shapes)
        obs = codec.encode(self.fields(shapes))
        assert obs.shape == (2, 3, dim) and (obs.abs() <= 3).all()

    def test_what_is_unseen_and_nothing_else_stays_as_it_was(self, name):
        make, shapes, dim = CODECS[name]
        codec, fields = make(), self.fields(shapes)
        if name == "cameras, points":  # which begin on no colour yet: one that is nowhere is hidden
            codec.grids["camera_wrist"].colours.data.fill_(-5.0)
            assert 0 < codec.unseen(fields).float().mean() < 0.5
        obs, unseen = codec.encode(fields), codec.unseen(fields)
        assert torch.equal(codec.observe(fields), obs)
        hidden = torch.zeros(2, 3, dim, dtype=torch.bool) if unseen is None else unseen
        assert torch.equal(codec.observe(fields, obs + 1), torch.where(_same_shape(hidden, obs), obs + 1, obs))

    def test_decodes_to_the_fields_that_it_read(self, name):
        make, shapes, _ = CODECS[name]
        codec, fields = make(), self.fields(shapes)
        with torch.no_grad():
            again = codec.decode(codec.encode(fields))
        for key, field in fields.items():
            assert again[key].shape == field.shape and again[key].dtype == field.dtype
        if "agent" in fields:
            assert torch.allclose(again["agent"], fields["agent"], atol=1e-2)


def _same_shape(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    assert a.shape == b.shape
    return a
