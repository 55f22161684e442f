"""The tokenizer: what it sees and hides, and that it learns to draw what a few tokens say."""

import sys
import types
from dataclasses import replace

import pytest
import torch

from glocal.models.codecs import tokenizer
from glocal.models.codecs.tokenizer import Tokenizer, TokenizerConfig
from glocal.runtime.files import UserError

SIDE = 32
SMALL = TokenizerConfig(tokens=4, channels=4, size=0)


def squares(count: int) -> torch.Tensor:
    """A white square somewhere on black."""
    places = torch.randint(2, SIDE - 10, (count, 2))
    inside = [(torch.arange(SIDE) - places[:, i : i + 1]).clamp(0, 7) == (torch.arange(SIDE) - places[:, i : i + 1])
              for i in (0, 1)]  # fmt: skip
    shown = inside[1][:, :, None] & inside[0][:, None]
    return (255 * shown[..., None].expand(-1, -1, -1, 3)).byte()


def built(cfg: TokenizerConfig = SMALL) -> Tokenizer:
    torch.manual_seed(0)
    return cfg.build(SIDE)


def test_pictures_become_tokens_and_are_drawn_in_their_size():
    model, pictures = built(), squares(6).unflatten(0, (2, 3))
    with torch.no_grad():
        row = model.encode(pictures)
        assert row.shape == (2, 3, 16) and row.abs().max() <= 1
        assert model.decode(row).shape == pictures.shape and model.decode(row).dtype == torch.uint8


def test_a_square_is_drawn_where_its_own_token_of_place_says():
    """What leaves for one square is one block of the picture."""
    model = built()
    with torch.no_grad():
        before = model.draw(torch.zeros(1, 4, 4))
        handle = model.norms[1].register_forward_hook(lambda _, __, out: out * _sixth(out))
        after = model.draw(torch.zeros(1, 4, 4))
        handle.remove()
    changed = (after - before).abs().amax(1)[0] > 1e-6
    assert not changed[8:16, 8:16].any() and changed.any()


def _sixth(out: torch.Tensor) -> torch.Tensor:
    """One at the sixth square alone, the second of the second row of four."""
    mask = torch.zeros(out.shape[1], 1)
    mask[5] = 1.0
    return mask


def test_hidden_squares_are_not_seen_and_shown_ones_are():
    model = built()
    cells = model._cut(squares(1).movedim(-1, 1).float() / 255)
    shown = torch.ones(1, 16, dtype=torch.bool)
    shown[0, 3] = False
    other = cells.clone()
    other[0, 3] += 1.0
    with torch.no_grad():
        assert torch.equal(model._tokens(cells, shown), model._tokens(other, shown))
        assert not torch.equal(model._tokens(cells), model._tokens(other))


def test_a_share_of_squares_is_hidden_by_chance_up_to_the_largest(monkeypatch):
    model, seen = built(replace(SMALL, masked=0.5)), []
    tokens = model._tokens
    monkeypatch.setattr(model, "_tokens", lambda cut, shown: (seen.append(shown), tokens(cut, shown))[1])
    torch.manual_seed(0)
    model.loss(squares(2000))
    hidden = 1 - seen[0].float().mean(1)
    assert 0.2 < hidden.mean() < 0.3 and hidden.min() == 0 and hidden.max() > 0.5


def test_patches_that_do_not_divide_a_picture_are_refused():
    with pytest.raises(UserError, match="patch is 32, which does not divide pictures of 48 pixels"):
        TokenizerConfig(patch=32).build(48)


def test_a_perceptual_error_is_refused_where_its_package_or_its_weights_are_missing(monkeypatch, tmp_path):
    model = built(replace(SMALL, perceptual=0.2))
    monkeypatch.setattr(tokenizer.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the package lpips"):
        model.fit_statistics(squares(2))
    monkeypatch.setattr(tokenizer.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"needs the weights of VGG-16 in .*vgg16-397923af\.pth, and they are not"):
        model.fit_statistics(squares(2))


def test_a_perceptual_error_is_added_and_is_no_part_of_the_weights(monkeypatch, tmp_path):
    class Blind(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))

        def forward(self, drawn, image):
            assert image.min() == -1 and image.max() == 1
            return (drawn - image).abs().mean((1, 2, 3), keepdim=True)

    monkeypatch.setattr(tokenizer.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Blind))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / tokenizer.PERCEPTUAL_WEIGHTS).write_bytes(b"")
    plain, told = built(), built(replace(SMALL, perceptual=2.0))
    told.fit_statistics(squares(2))
    assert set(plain.state_dict()) == set(told.state_dict())
    losses = []
    for model in (plain, told):
        torch.manual_seed(0)
        losses.append(model.loss(squares(4)))
    assert torch.allclose(losses[1][0] - losses[0][0], 2 * losses[1][1]["perceptual"], atol=1e-5)


def test_it_learns_to_draw_what_is_seen():
    model = built(replace(SMALL, channels=8, masked=0.0, noise=0.0, worst_pixels=0))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(500):
        loss, _ = model.loss(squares(32))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    held = squares(64)
    with torch.no_grad():
        drawn = model.decode(model.encode(held)).float()
    assert (drawn - held).pow(2).mean() < 0.5 * (held.float() - held.float().mean()).pow(2).mean()
