"""Pictures as a few tokens, by a masked autoencoder of transformers: the tokenizer of Dreamer 4 (arXiv 2509.24527).

It looks at one picture at a time, where the paper's also looks back: what a policy sees must not depend on how long it
has been looking.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glocal.core.nets import half_precision
from glocal.core.pictures import CHANNELS
from glocal.core.ranges import Amount, Part, Range
from glocal.models.codecs.autoencoder import PictureAutoencoder
from glocal.models.codecs.images import drawing_loss, to_channels
from glocal.models.transformer import Layer, SpaceAttention
from glocal.runtime.files import UserError

SIZES = ((32, 1, 2), (128, 3, 4), (256, 6, 4), (512, 8, 8), (768, 12, 12))
"""Width, layers of encoder and of decoder, and heads, by `size`."""
PERCEPTUAL_WEIGHTS = "vgg16-397923af.pth"


@dataclass(frozen=True)
class TokenizerConfig:
    """Choices for the tokenizer."""

    tokens: Annotated[int, Range(1, 1024)] = 16
    channels: Annotated[int, Range(1, 256)] = 16
    """Numbers of each token."""
    patch: Literal[4, 8, 16, 32] = 8
    """Pixels along the side of the squares that pictures are cut into."""
    size: Literal[0, 1, 2, 3, 4] = 1
    """0 (for tests) to 4: width and depth of encoder and decoder."""
    masked: Part = 0.9
    """Largest share of the squares of a picture that are hidden in training, each picture's by chance."""
    noise: Amount = 0.05
    """Standard deviation of the noise on tokens in training, of a range from -1 to 1: what is near looks alike."""
    worst_pixels: Annotated[int, Range(0, 4096)] = 128
    """Pixels of each picture whose mean error is added to the loss: small things are otherwise left out."""
    perceptual: Amount = 0.0
    """Weight of a perceptual error (LPIPS, arXiv 1801.03924; 0.2 in the paper), where its weights are on the disk."""
    shared: bool = False
    """Of several cameras whether one tokenizer is for all whose pictures are of one size; else each has its own."""

    @property
    def shape(self) -> tuple[int, int]:
        """Of what stands for a picture: tokens, and numbers of each."""
        return self.tokens, self.channels

    def build(self, size: int) -> "Tokenizer":
        """An untrained tokenizer of pictures of `size` by `size` pixels."""
        return Tokenizer(self, size)


class Tokenizer(PictureAutoencoder):
    """A few tokens that have looked at all squares of a picture; and squares that have looked at the tokens."""

    def __init__(self, cfg: TokenizerConfig, size: int):
        super().__init__()
        if size % cfg.patch:
            raise UserError(f"--codec.patch is {cfg.patch}, which does not divide pictures of {size} pixels")
        self.cfg, self.shape, self.squares = cfg, cfg.shape, size // cfg.patch
        width, layers, heads = SIZES[cfg.size]
        self.enter, self.leave = (
            nn.Linear(CHANNELS * cfg.patch**2, width),
            nn.Linear(width, CHANNELS * cfg.patch**2),
        )
        self.pinch, self.widen = nn.Linear(width, cfg.channels), nn.Linear(cfg.channels, width)
        places = self.squares**2
        self.hidden, self.asking = _learned(width), _learned(width)
        self.place, self.place_again = _learned(places, width), _learned(places, width)
        self.token, self.token_again = _learned(cfg.tokens, width), _learned(cfg.tokens, width)
        self.encoder, self.decoder = (
            nn.ModuleList([Layer(SpaceAttention(width, heads), width) for _ in range(layers)]) for _ in range(2)
        )
        self.norms = nn.ModuleList([nn.RMSNorm(width) for _ in range(2)])
        self.perceived: Any = None

    @torch.no_grad()
    def fit_statistics(self, images: UInt8[Tensor, "n h w 3"]) -> None:
        """Find what tells the perceptual error, where it is asked for; raises `UserError` where that is not at hand."""
        self.perceived = _perceived() if self.cfg.perceptual else None

    def compress(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n d"]:
        return self._tokens(self._cut(image))

    def draw(self, latent: Float[Tensor, "b n d"]) -> Float[Tensor, "b 3 h w"]:
        asking = (self.asking + self.place_again).expand(len(latent), -1, -1)
        x = self._through(self.decoder, torch.cat([self.widen(latent) + self.token_again, asking], 1))
        squares = self.leave(self.norms[1](x[:, self.cfg.tokens :]))
        cells = squares.transpose(1, 2).unflatten(-1, (self.squares, self.squares))
        return nn.functional.pixel_shuffle(cells, self.cfg.patch) + 0.5

    def loss(self, images: UInt8[Tensor, "b h w 3"]) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of what is drawn of pictures of which some squares are hidden, and what the configuration adds
        to it."""
        image = to_channels(images)
        squares = self._cut(image)
        share = self.cfg.masked * torch.rand(len(image), 1, device=image.device)
        shown = torch.rand(squares.shape[:2], device=image.device) >= share
        with half_precision(image.device):
            latent = self._tokens(squares, shown)
            drawn = self.draw(latent + self.cfg.noise * torch.randn_like(latent)).float()
        loss, metrics = drawing_loss(drawn, image, max(1, self.cfg.worst_pixels))
        if not self.cfg.worst_pixels:
            loss = metrics["squared"]
        if self.perceived is not None:
            apart = self.perceived(drawn * 2 - 1, image * 2 - 1).mean()
            loss, metrics = loss + self.cfg.perceptual * apart, metrics | {"perceptual": apart}
        return loss, metrics

    def _cut(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n p"]:
        """The squares of pictures, around zero."""
        return nn.functional.pixel_unshuffle(image - 0.5, self.cfg.patch).flatten(2).transpose(1, 2)

    def _tokens(self, squares: Float[Tensor, "b n p"], shown: Tensor | None = None) -> Float[Tensor, "b t d"]:
        """The tokens of squares, of which only those that are `shown` are seen."""
        x = self.enter(squares)
        if shown is not None:
            x = torch.where(shown[..., None], x, self.hidden.to(x))
        x = torch.cat([self.token.expand(len(x), -1, -1), x + self.place], dim=1)
        x = self._through(self.encoder, x)[:, : self.cfg.tokens]
        return self.pinch(self.norms[0](x)).float().tanh()

    def _through(self, layers: nn.ModuleList, x: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        x = x[:, None]
        for layer in layers:
            x, _, _ = layer(x)
        return x[:, 0]


def _learned(*shape: int) -> nn.Parameter:
    return nn.Parameter(0.5 * torch.randn(*shape))


def missing_perceptual() -> str:
    """What a perceptual error needs and is not at hand, in words, or nothing: nothing is ever downloaded."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / PERCEPTUAL_WEIGHTS
    if importlib.util.find_spec("lpips") is None:
        return "--codec.perceptual needs the package lpips: pip install lpips, or set it to 0"
    if not path.is_file():
        return f"--codec.perceptual needs the weights of VGG-16 in {path}, and they are not there; set it to 0"
    return ""


def _perceived() -> Any:
    """LPIPS as the package of that name has it."""
    if missing := missing_perceptual():
        raise UserError(missing)
    import lpips  # pyright: ignore[reportMissingImports]

    return _Frozen(lpips.LPIPS(net="vgg", verbose=False))


class _Frozen:
    """A network that takes part in a loss, and is no part of the module that is trained and kept."""

    def __init__(self, net: nn.Module):
        self.net = net.requires_grad_(False).eval()

    def __call__(self, *x: Tensor) -> Tensor:
        return self.net.to(x[0].device)(*x)
