"""The recurrent local model's loss: small on data that it is right about, larger a step late; its KL by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from glocal.core.gradients import Draw
from glocal.core.rollout import warm_up
from glocal.core.spec import Part, Spec
from glocal.core.types import Segment
from glocal.models.surrogates.rssm import RSSM, CategoricalSpace, Choice, GaussianSpace, RSSMConfig

SPEC = Spec((Part("numbers", (4,)),), 2)
SIZE = SPEC.obs_dim
CONFIG = RSSMConfig(recurrent=SIZE + 2, stochastic=SIZE, width=8, obs_std=1.0, free_nats=0.0)
NARROW, WIDE, UNKNOWN = -30.0, -2.4, 100.0
"""Standard deviations, before softplus, of about 0.02, 0.1 and 100."""


def moved(action: Tensor) -> Tensor:
    """By how much an action moves an observation."""
    return torch.stack([action[..., 1], 0 * action[..., 0], action[..., 0], action[..., 1]], dim=-1)


class Remembers(nn.Module):
    """A cell whose state is the last latent sample and the last action."""

    def forward(self, entered: Tensor, h: Tensor) -> Tensor:
        return entered


class Moves(nn.Module):
    """A prior that expects the last latent moved by the last action, as `experience` does; of ends it knows nothing."""

    def forward(self, h: Tensor) -> Tensor:
        latent, action = h[..., :SIZE], h[..., SIZE:]
        spread = torch.full_like(latent, WIDE)
        spread[..., 1] = UNKNOWN
        return torch.cat([latent + moved(action), spread], dim=-1)


class Believes(nn.Module):
    """A posterior that is what is seen."""

    def forward(self, told: Tensor) -> Tensor:
        obs = told[..., -SIZE:]
        return torch.cat([obs, torch.full_like(obs, NARROW)], dim=-1)


class Sees(nn.Module):
    """A decoder of such a latent, `factor` times."""

    def __init__(self, factor: float = 1.0):
        super().__init__()
        self.factor = factor

    def forward(self, feat: Tensor) -> Tensor:
        return self.factor * feat[..., -SIZE:]


class Told(nn.Module):
    """Reads the reward off the first coordinate, and where episodes end off the second."""

    def forward(self, feat: Tensor) -> Tensor:
        obs = feat[..., -SIZE:]
        return torch.stack([obs[..., 0], torch.where(obs[..., 1] > 5, -30.0, 30.0)], dim=-1)


def experience() -> Segment:
    """Agent and scene move with the action; half of the episodes end before their last step, which the scene shows."""
    torch.manual_seed(0)
    action = torch.rand(16, 6, 2) * 2 - 1
    obs = torch.rand(16, 1, SIZE) + moved(action).cumsum(1)
    cont = torch.ones(16, 6)
    obs[::2, -2, 1], cont[::2, -2] = 9.0, 0
    return Segment(obs, action, obs[..., 0].clone(), cont)


def knowing(**choices: float) -> RSSM:
    """A local model that is right about `experience`."""
    surrogate = RSSM(replace(CONFIG, **choices), SPEC)
    surrogate.enter, surrogate.cell = nn.Identity(), Remembers()  # pyright: ignore[reportAttributeAccessIssue]
    surrogate.prior, surrogate.posterior = Moves(), Believes()  # pyright: ignore[reportAttributeAccessIssue]
    surrogate.decoder, surrogate.outcome = Sees(), Told()  # pyright: ignore[reportAttributeAccessIssue]
    return surrogate


def terms(surrogate: RSSM, segment: Segment) -> dict[str, float]:
    torch.manual_seed(1)
    return {name: float(value.detach()) for name, value in surrogate.loss(segment)[1].items()}


def test_posteriors_and_priors_are_those_of_warming_up_to_each_step():
    torch.manual_seed(0)
    surrogate, segment = RSSM(CONFIG, SPEC), experience()
    torch.manual_seed(1)
    posterior, prior = surrogate._unroll(segment)
    assert posterior.h.shape[1] == prior.h.shape[1] == 5
    for t in range(1, 6):
        torch.manual_seed(1)
        assert torch.equal(posterior.feat[:, t - 1], warm_up(surrogate, segment[:, : t + 1]).feat)
        torch.manual_seed(1)
        before = warm_up(surrogate, segment[:, :t])
        assert torch.equal(prior.feat[:, t - 1], surrogate.predict(before, segment.action[:, t]).feat)


def test_its_loss_is_next_to_nothing_where_it_is_right_about_every_step():
    found = terms(knowing(), experience())
    assert found["reconstruction"] == pytest.approx(0.5 * SIZE * 0.02**2, rel=0.2)  # the posterior's own spread
    assert found["reward"] < 1e-3 and found["cont"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("shift", [1, -1])
@pytest.mark.parametrize("field, term", [("action", "kl"), ("reward", "reward"), ("cont", "cont")])
def test_a_term_is_larger_where_its_field_is_a_step_late_or_early(field, term, shift):
    segment = experience()
    late = replace(segment, **{field: getattr(segment, field).roll(shift, 1)})
    right, wrong = terms(knowing(), segment)[term], terms(knowing(), late)[term]
    assert wrong > 2 * right + 0.05, (right, wrong)


def test_the_reconstruction_is_of_each_row_that_counts_in_units_of_the_noise_it_allows_for():
    segment, surrogate = experience(), knowing(obs_std=0.5)
    surrogate.decoder = Sees(0.0)  # pyright: ignore[reportAttributeAccessIssue]
    lived = torch.ones(16, 5)
    lived[::2, -1] = 0
    by_hand = (lived * 0.5 * (segment.obs[:, 1:] / 0.5).pow(2).sum(-1)).sum() / lived.sum()
    assert terms(surrogate, segment)["reconstruction"] == pytest.approx(float(by_hand), rel=1e-5)


def test_the_kl_of_gaussians_by_hand_and_which_way_round():
    posterior = Draw(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 4.0]]))
    prior = Draw(torch.zeros(1, 2), torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 1.0]]))
    log2 = 0.6931471805599453
    by_hand = (0.5 * (0.25 + 0.25 - 1) + log2) + (0.5 * (16 + 0 - 1) - 2 * log2)
    assert float(GaussianSpace(2).kl(posterior, prior)) == pytest.approx(by_hand)


def test_reward_and_continuation_are_read_off_a_belief_by_the_outcome_head():
    surrogate = knowing()
    belief = warm_up(surrogate, experience())
    surrogate.outcome = nn.Linear(surrogate.feat_dim, 2)
    told = surrogate.outcome(belief.feat)
    assert torch.equal(surrogate.reward(belief), told[..., 0])
    assert torch.equal(surrogate.cont(belief), told[..., 1].sigmoid())


def test_the_kl_of_categoricals_by_hand_and_which_way_round():
    posterior = Choice(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]).log(), 2)
    prior = Choice(torch.zeros(1, 2), torch.tensor([[0.25, 0.75]]).log(), 2)
    found = CategoricalSpace(1, 2).kl(posterior, prior)
    assert float(found) == pytest.approx(0.5 * 0.6931472 - 0.5 * 0.4054651)  # log 2, log 3 / 2


def test_gaussian_draws_have_the_mean_and_the_spread_they_are_told():
    torch.manual_seed(0)
    draw = GaussianSpace(1).draw(torch.tensor([[3.0, 0.5413]]).expand(4000, 2))
    assert draw.std[0].item() == pytest.approx(1.02, abs=1e-3) and draw.mean[0].item() == 3.0
    assert draw.sample.mean().item() == pytest.approx(3.0, abs=0.06)
    assert draw.sample.std().item() == pytest.approx(1.02, abs=0.05)


def test_categorical_draws_are_one_hot_as_often_as_they_are_told_and_slope_as_their_probabilities():
    torch.manual_seed(0)
    told = torch.tensor([0.7, 0.2, 0.1, 0.1, 0.3, 0.6])  # two categoricals of three classes
    parameters = told.log().expand(4000, 6).clone().requires_grad_()
    draw = CategoricalSpace(2, 3).draw(parameters)
    mixed = 0.99 * told + 0.01 / 3
    assert torch.allclose(draw.logits[0].exp(), mixed, atol=1e-5)
    one_hot = draw.sample.detach().view(4000, 2, 3)
    assert set(one_hot.unique().tolist()) == {0.0, 1.0} and (one_hot.sum(-1) == 1).all()
    assert torch.allclose(one_hot.flatten(1).mean(0), mixed, atol=0.03)
    (slope,) = torch.autograd.grad(draw.sample[0, 0], parameters)
    by_hand = 0.99 * 0.7 * torch.tensor([1 - 0.7, -0.2, -0.1, 0.0, 0.0, 0.0])  # the softmax's own
    assert torch.allclose(slope[0], by_hand, atol=1e-5) and not slope[1:].any()


def slopes(**scales: float) -> dict[str, Tensor]:
    """The loss's derivatives by the last layers' offsets; no step's state depends on the one before."""
    torch.manual_seed(0)
    surrogate = RSSM(replace(CONFIG, **{"dynamics_scale": 0.0, "representation_scale": 0.0} | scales), SPEC)
    surrogate.cell.weight_ih.data.zero_()
    surrogate.cell.weight_hh.data.zero_()
    torch.manual_seed(1)
    ends = {"prior": surrogate.prior[-1].bias, "posterior": surrogate.posterior[-1].bias}
    loss = surrogate.loss(experience())[0]
    return dict(zip(ends, torch.autograd.grad(loss, ends.values(), materialize_grads=True), strict=True))  # pyright: ignore


@pytest.mark.parametrize(
    "scale, moved, held", [("dynamics_scale", "prior", "posterior"), ("representation_scale", "posterior", "prior")]
)
def test_each_half_of_the_balanced_kl_moves_its_own_side_in_proportion_to_its_scale(scale, moved, held):
    none, one, three = slopes(), slopes(**{scale: 1.0}), slopes(**{scale: 3.0})
    assert torch.allclose(one[held], none[held], atol=1e-6)
    assert (one[moved] - none[moved]).norm() > 1e-2
    assert torch.allclose(three[moved] - none[moved], 3 * (one[moved] - none[moved]), rtol=1e-3, atol=1e-4)


def test_a_kl_within_the_free_nats_counts_as_them_and_moves_nothing():
    surrogate = RSSM(replace(CONFIG, free_nats=1e4), SPEC)
    loss, metrics = surrogate.loss(experience())
    loss.backward()
    assert float(metrics["kl"].detach()) == 1e4
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in surrogate.prior.parameters())


def test_the_loss_is_the_sum_of_its_terms_each_by_its_weight():
    found, parts = {}, {}
    for name, scales in (("both", (0.5, 0.25)), ("none", (0.0, 0.0))):
        torch.manual_seed(0)
        surrogate = RSSM(replace(CONFIG, dynamics_scale=scales[0], representation_scale=scales[1]), SPEC)
        torch.manual_seed(1)
        loss, metrics = surrogate.loss(experience())
        found[name] = float(loss.detach())
        parts = {each: float(value.detach()) for each, value in metrics.items()}
    assert found["none"] == pytest.approx(parts["reconstruction"] + 100 * parts["reward"] + parts["cont"], rel=1e-5)
    assert found["both"] - found["none"] == pytest.approx(0.75 * parts["kl"], rel=1e-3)
