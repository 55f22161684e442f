"""Losses of local models: which rows they look at."""

import torch
from torch import nn

from glocal.core.types import Segment
from glocal.models.rigid2d.scene import SceneConfig, scene_spec
from glocal.models.surrogates.mlp import MLPSurrogate, MLPSurrogateConfig
from glocal.models.surrogates.rssm import RSSM, RSSMConfig

LOOSE, FEATURES = scene_spec(2), SceneConfig(rigid=False, reach=0.2)


class Shown(nn.Module):
    """Keeps what it is shown, and answers zeros."""

    def __init__(self, outputs: int):
        super().__init__()
        self.outputs = outputs
        self.rows: list[torch.Tensor] = []

    def forward(self, features):
        self.rows.append(features)
        return features.new_zeros(*features.shape[:-1], self.outputs)


def numbered() -> Segment:
    """Four rows; each observation and action is its row's number, in hundredths."""
    rows = torch.arange(4.0)[None] / 100
    return Segment(rows[..., None].expand(-1, -1, 6), rows[..., None].expand(-1, -1, 2), rows, torch.ones_like(rows))


def mlp() -> MLPSurrogate:
    return MLPSurrogate(MLPSurrogateConfig(width=8, blocks=1, smoothing=0.0), LOOSE, FEATURES)


def test_the_feed_forward_model_predicts_each_row_from_the_two_before_and_the_action_that_led_to_it():
    surrogate = mlp()
    surrogate.body = shown = Shown(LOOSE.obs_dim)  # pyright: ignore[reportAttributeAccessIssue]
    surrogate.loss(numbered())
    window = torch.tensor([[[0.0, 0.01]], [[0.01, 0.02]]])[:, 0]  # rows 0, 1 before row 2; rows 1, 2 before row 3
    actions = torch.tensor([[0.01, 0.02], [0.02, 0.03]])  # what led to the newer of them, and to the predicted row
    wanted = surrogate.features.dynamics(
        window[..., None].expand(-1, -1, 6), actions[..., None].expand(-1, -1, 2), surrogate.features.scales
    )
    assert torch.allclose(shown.rows[0], wanted, atol=1e-6)


def test_the_feed_forward_model_is_held_to_the_change_to_that_row_and_to_its_outcome():
    surrogate = mlp()
    surrogate.features.scale.fill_(0.01)
    surrogate.body = Shown(LOOSE.obs_dim)  # pyright: ignore[reportAttributeAccessIssue]
    surrogate.outcome = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    told = []
    surrogate.outcome.forward = lambda obs: (told.append(obs) or obs[..., 0] + 0.01, obs[..., 0] * 0 + 100)
    _, metrics = surrogate.loss(numbered())
    assert float(metrics["change"]) == torch.tensor(0.5).item()  # every number moves by one scale: Huber's 1 / 2
    assert torch.allclose(told[0][:, 0], torch.tensor([0.02, 0.03]))
    assert torch.allclose(metrics["reward"], torch.tensor(0.5 * 0.01**2 / 0.02))  # smooth L1, beta 0.02, off by 0.01


class Tracing(RSSM):
    """Notes in which order it predicts and corrects, and from what."""

    def __init__(self):
        super().__init__(RSSMConfig("gaussian", 8, 2, 2, 8), LOOSE)
        self.noted: list[tuple[str, float]] = []

    def initial(self, obs):
        self.noted.append(("initial", round(float(obs[0, 0]), 2)))
        return super().initial(obs)

    def predict(self, belief, action):
        self.noted.append(("action", round(float(action[0, 0]), 2)))
        return super().predict(belief, action)

    def correct(self, prior, obs):
        self.noted.append(("obs", round(float(obs[0, 0]), 2)))
        return super().correct(prior, obs)


def test_the_recurrent_model_is_unrolled_from_the_first_row_over_actions_and_what_they_led_to():
    surrogate = Tracing()
    posterior, prior = surrogate._unroll(numbered())
    assert surrogate.noted == [
        ("initial", 0.0), ("action", 0.01), ("obs", 0.01), ("action", 0.02), ("obs", 0.02), ("action", 0.03),
        ("obs", 0.03),
    ]  # fmt: skip
    assert posterior.h.shape == prior.h.shape == (1, 3, 8)
    assert torch.equal(posterior.h, prior.h) and not torch.equal(posterior.z.sample, prior.z.sample)


def test_the_recurrent_model_is_held_to_the_rows_it_was_corrected_by():
    torch.manual_seed(0)
    surrogate = Tracing()
    surrogate.decoder = Shown(6)  # pyright: ignore[reportAttributeAccessIssue]
    surrogate.outcome = Shown(2)  # pyright: ignore[reportAttributeAccessIssue]
    _, metrics = surrogate.loss(numbered())
    squares = sum((row / 100 / surrogate.cfg.obs_std) ** 2 for row in (1, 2, 3)) / 3
    assert torch.allclose(metrics["reconstruction"], torch.tensor(0.5 * 6 * squares))
    assert torch.allclose(metrics["reward"], torch.tensor((1 + 4 + 9) / 3 / 100**2))
    assert torch.allclose(metrics["cont"], torch.tensor(0.6931472))
