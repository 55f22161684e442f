"""The feed-forward local model's loss is zero on data that it is right about, and on no data a step late or early."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from glocal.core.types import Segment
from glocal.models.rigid2d.scene import SceneConfig, scene_spec
from glocal.models.surrogates.mlp import MLPSurrogate, MLPSurrogateConfig

SPEC, FEATURES = scene_spec(2), SceneConfig(rigid=False, reach=0.2)
SCALE = torch.tensor([[0.1], [0.2], [0.4]])


class Oracle(nn.Module):
    """Knows what every situation of a segment leads to, and is far off about any other."""

    def __init__(self, situation: Tensor, change: Tensor):
        super().__init__()
        self.situation, self.change = situation, change

    def forward(self, situation: Tensor) -> Tensor:
        distance = (situation[:, None] - self.situation).abs().amax(-1)
        return self.change[distance.argmin(1)] + 9.0 * (distance.amin(1, keepdim=True) > 1e-4)


class Told(nn.Module):
    """Reads the reward off the first coordinate, and where episodes end off the second."""

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        return obs[..., 0], torch.where(obs[..., 1] > 5, -30.0, 30.0)


def experience() -> Segment:
    """Nothing repeats; rewards are what `Told` reads, and the first of two episodes ends before its last step."""
    torch.manual_seed(0)
    obs = torch.rand(2, 5, SPEC.obs_dim) * 2 - 1
    obs[0, -2, 1] = 9.0
    cont = torch.ones(2, 5)
    cont[0, -2] = 0
    return Segment(obs, torch.rand(2, 5, 2) * 2 - 1, obs[..., 0].clone(), cont)


def knowing(segment: Segment, smoothing: float = 0.0) -> MLPSurrogate:
    """A local model that is right about a segment, pair of steps by pair of steps."""
    surrogate = MLPSurrogate(MLPSurrogateConfig(width=8, blocks=1, smoothing=smoothing), SPEC, FEATURES)
    surrogate.features.scale.copy_(SCALE)
    surrogate.outcome = Told()  # pyright: ignore[reportAttributeAccessIssue]
    situations, changes = [], []
    for t in range(2, segment.obs.shape[1]):
        window = torch.stack([segment.obs[:, t - 2], segment.obs[:, t - 1]], 1)
        action = torch.stack([segment.action[:, t - 1], segment.action[:, t]], 1)
        situations.append(surrogate.features.dynamics(window, action, surrogate.cfg.scales))
        moved = (segment.obs[:, t] - segment.obs[:, t - 1]).unflatten(-1, (-1, 2))
        changes.append((moved / SCALE).flatten(1))
    surrogate.body = Oracle(torch.cat(situations), torch.cat(changes))  # pyright: ignore[reportAttributeAccessIssue]
    return surrogate


def terms(surrogate: MLPSurrogate, segment: Segment) -> dict[str, float]:
    return {name: float(value) for name, value in surrogate.loss(segment)[1].items()}


def test_its_loss_is_zero_where_it_is_right_about_every_step():
    segment = experience()
    loss, metrics = knowing(segment).loss(segment)
    assert all(float(value) == pytest.approx(0.0, abs=1e-9) for value in metrics.values())
    assert float(loss) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("shift", [1, -1])
@pytest.mark.parametrize(
    "field, term", [("obs", "change"), ("action", "change"), ("reward", "reward"), ("cont", "cont")]
)
def test_its_loss_is_not_zero_where_a_field_is_a_step_late_or_early(field, term, shift):
    segment = experience()
    late = replace(segment, **{field: getattr(segment, field).roll(shift, 1)})
    assert terms(knowing(segment), late)[term] > 0.01


def test_it_predicts_in_use_from_what_its_loss_shows_it():
    segment = experience()
    surrogate = knowing(segment)
    belief = surrogate.initial(segment.obs[:, 0])
    for t in (1, 2, 3, 4):
        prior = surrogate.predict(belief, segment.action[:, t])
        assert t == 1 or torch.allclose(prior.obs, segment.obs[:, t], atol=1e-5)
        belief = surrogate.correct(prior, segment.obs[:, t])
        assert torch.equal(belief.obs, segment.obs[:, t]) and torch.equal(belief.previous, segment.obs[:, t - 1])
        assert torch.equal(belief.action, segment.action[:, t])


def test_its_loss_adds_its_terms_and_takes_the_mean_over_steps_that_count():
    segment = experience()
    wrong = replace(segment, reward=segment.reward.clone())
    wrong.reward[1, 2] += 1.0
    wrong.reward[:, :2] += 7.0  # what led to the first two observations is not predicted
    wrong.reward[0, -1] += 7.0  # and this episode is over
    loss, metrics = knowing(segment).loss(wrong)
    assert float(metrics["reward"]) == pytest.approx((1.0 - 0.5 * 0.02) / 5)  # smooth L1 beyond beta; 2 + 3 steps
    assert float(loss) == pytest.approx(float(metrics["reward"]), abs=1e-9)


def test_smoothing_moves_the_agent_alone_and_in_both_observations_alike():
    segment = experience()
    surrogate, shown = knowing(segment, smoothing=0.3), []
    surrogate.body.register_forward_hook(lambda module, inputs, output: shown.append(inputs[0]))
    surrogate.loss(segment)
    now, exact = shown[0][:, : SPEC.obs_dim], segment.obs[:, 1:-1].flatten(0, 1)  # a situation begins with what is seen
    assert torch.equal(now[:, :-2], exact[:, :-2])
    assert 0.1 < float((now - exact)[:, -2:].std()) < 0.6
    places = shown[0][:, -12:-4]  # of the agent before, now, and of both targets, from now; then the points' past
    moved = (segment.obs[:, :-2] - segment.obs[:, 1:-1]).flatten(0, 1)[:, -2:]
    assert torch.allclose(places[:, :2], moved, atol=1e-5)
