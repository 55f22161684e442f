"""The motion world: pictures made of parts of a source that move, by hand."""

import math
from dataclasses import replace

import pytest
import torch

from glocal.core.spec import Part, Spec
from glocal.core.types import Segment
from glocal.models.codecs.cameras import CamerasCodec
from glocal.models.codecs.grid import GridCodecConfig
from glocal.models.worlds.motion import MotionConfig, MotionWorld
from glocal.models.worlds.painter import Drawn, Painter, Source, combined
from tests.toys import control_steps

SIDE = 16
TINY = GridCodecConfig(side=4, channels=2, width=8, blocks=1)
SMALL = MotionConfig(size=0, parts=2, answers=2, before=0, source_steps=3, context_noise=0.0)


def world(cfg: MotionConfig = SMALL, vectors: tuple[Part, ...] = ()) -> MotionWorld:
    torch.manual_seed(0)
    codec = seeing(vectors)
    return MotionWorld(cfg, Spec(codec.spec.parts, 2), codec).requires_grad_(False)


def seeing(vectors: tuple[Part, ...] = ()) -> CamerasCodec:
    torch.manual_seed(0)
    return CamerasCodec(TINY, vectors, {"top": SIDE, "wrist": SIDE})


def recorded(model: MotionWorld, count: int = 3, length: int = 4) -> Segment:
    torch.manual_seed(1)
    pictures = torch.randint(256, (count, length, 2 * 3 * SIDE**2), dtype=torch.uint8)
    obs, flat = torch.randn(count, length, model.spec.obs_dim), torch.rand(count, length)
    return Segment(obs, torch.rand(count, length, 2), flat, flat, pictures)


def turned(angle: float, x: float = 0.0, y: float = 0.0) -> torch.Tensor:
    angled = torch.tensor(angle)
    return torch.stack([
        torch.stack([angled.cos(), -angled.sin(), torch.tensor(x)]),
        torch.stack([angled.sin(), angled.cos(), torch.tensor(y)]),
    ])  # fmt: skip


def painter() -> Painter:
    torch.manual_seed(0)
    return Painter(SMALL.size, SMALL.context, SMALL.parts, affine=False, side=SIDE, told=4)


def test_maps_are_combined_so_that_points_go_through_one_after_the_other():
    first, then, point = turned(0.3, 0.1, -0.4), turned(-1.1, 0.7, 0.2), torch.tensor([0.5, -0.25])
    between = then[:, :2] @ point + then[:, 2]
    assert torch.allclose(combined(first, then)[:, :2] @ point + combined(first, then)[:, 2],
                          first[:, :2] @ between + first[:, 2])  # fmt: skip


def test_a_part_is_where_its_map_leads_back_from():
    """A map back by four pixels to the left shows the source four pixels farther right; one quarter turn turns it."""
    source = torch.rand(1, 3, SIDE, SIDE)
    left = turned(0.0, -4 * 2 / SIDE)
    quarter = turned(torch.pi / 2)
    moved = painter()._moved(source[:, None].expand(-1, 2, -1, -1, -1), torch.stack([left, quarter])[None])[0]
    assert torch.allclose(moved[0, :, :, 4:], source[0, :, :, :-4], atol=1e-5)
    assert torch.allclose(moved[1], source[0].rot90(1, (1, 2)), atol=1e-5)


def test_a_motion_turns_about_the_centre_and_shifts_it():
    """Where a part's centre is next, it leads back to where the centre was."""
    model, cells = painter(), (SIDE // 4) ** 2
    model.motion = torch.nn.Sequential(_Says(torch.tensor([[1.0, -2.0, 3.0]] * 2)))  # pyright: ignore
    attention = torch.full((1, 2, cells), -50.0)
    attention[0, 0, 3], attention[0, 1, 8] = 50.0, 50.0
    side = SIDE // 4
    back = model._back(torch.zeros(1, 16, side, side), attention.unflatten(-1, (side, side)), torch.zeros(1, 16))[0]
    for map_back, cell in zip(back, (3, 8), strict=True):
        centre = torch.tensor([(cell % side + 0.5), (cell // side + 0.5)]) * 2 / side - 1
        after = centre + 0.2 * torch.tensor([1.0, -2.0])
        assert torch.allclose(map_back[:, :2] @ after + map_back[:, 2], centre, atol=1e-5)
        back_by_0_6 = torch.tensor([math.cos(0.6), -math.sin(0.6)])
        assert torch.allclose(map_back[:, :2] @ torch.tensor([1.0, 0.0]), back_by_0_6, atol=1e-5)


LEFT = turned(0.0, -4 * 2 / SIDE)
"""The map back of a part that has moved right by four pixels."""


def shown(model: Painter, said: dict[int, float], masks: torch.Tensor, fresh: bool = False) -> tuple[torch.Tensor, ...]:
    """What is drawn where the network says the same of every pixel, of a source of which part 0 has moved right."""
    torch.manual_seed(1)
    bias = torch.full((4 + 3, 16), -60.0)
    for channel, logit in said.items():
        bias[channel] = logit
    bias[4:] = 0.5
    model.out.weight.data.zero_()
    model.out.bias.data = bias.flatten()
    last, picture = torch.rand(1, 2, 3, SIDE, SIDE), torch.rand(1, 3, SIDE, SIDE)
    source = Source(picture, masks, torch.stack([LEFT, turned(0.0)])[None])
    drawn = model(last, torch.zeros(1, 4), source, torch.tensor([fresh]))
    return drawn.picture[0], picture[0], last[0, -1], drawn.source.masks


def everywhere(*logits: float) -> torch.Tensor:
    return torch.tensor(logits)[None, :, None, None].expand(1, 2, SIDE, SIDE)


def test_a_picture_is_made_of_what_its_masks_choose():
    """Of the source as each part moves, of the last picture, and of new pixels."""
    nothing = everywhere(-60.0, -60.0)
    found, source, _, _ = shown(painter(), {}, everywhere(60.0, -60.0))
    assert torch.allclose(found[:, :, 4:], source[:, :, :-4], atol=1e-4)
    found, source, _, _ = shown(painter(), {}, everywhere(-60.0, 60.0))
    assert torch.allclose(found, source, atol=1e-4)
    found, _, last, _ = shown(painter(), {2: 60.0}, nothing)
    assert torch.allclose(found, last, atol=1e-4)
    found, _, _, _ = shown(painter(), {3: 60.0}, nothing)
    assert torch.allclose(found, torch.full_like(found, 0.5).tanh(), atol=2e-2)


def test_which_pixels_belong_to_a_part_moves_with_it():
    """A square of the source is part 0; where it goes it covers what stays, and nowhere else."""
    masks = everywhere(-60.0, -60.0).clone()
    masks[0, 0, 4:8, 2:6] = 60.0
    found, source, last, _ = shown(painter(), {2: 0.0}, masks)
    expected = last.clone()
    expected[:, 4:8, 6:10] = source[:, 4:8, 2:6]
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_source_is_divided_into_parts_when_it_is_taken_and_keeps_them():
    kept, said = everywhere(1.0, 2.0), {0: 3.0, 1: 4.0, 2: 0.0}
    assert torch.equal(shown(painter(), said, kept)[3], kept)
    assert torch.allclose(shown(painter(), said, kept, fresh=True)[3], everywhere(3.0, 4.0), atol=1e-2)


def test_pictures_come_in_and_go_out_as_they_were():
    model = world()
    segment = recorded(model)
    shown = model.pictures(model.begin(segment, 0))
    assert segment.pictures is not None
    top, wrist = segment.pictures[:, -1].split(3 * SIDE**2, dim=-1)
    assert torch.equal(shown["top"], top.unflatten(-1, (SIDE, SIDE, 3)))
    assert torch.equal(shown["wrist"], wrist.unflatten(-1, (SIDE, SIDE, 3)))


def test_what_is_shown_is_what_the_codec_makes_of_the_pictures():
    joints = (Part("joints", (3,)),)
    model = world(vectors=joints)
    begun = model.begin(recorded(model), 0)
    by_codec = seeing(joints).encode(model.pictures(begun) | {"joints": torch.zeros(3, 3)})
    assert torch.allclose(model.shown(begun.seen)[:, 3:], by_codec[:, 3:], atol=1e-5)
    assert torch.equal(model.shown(begun.seen)[:, :3], begun.seen.numbers[:, -1])


def test_the_source_is_kept_while_motions_add_up_and_then_taken_anew():
    model = world()
    context = model.begin(recorded(model), 0)
    first = context.source
    step = turned(0.1, 0.05)
    for paint in model.painters:  # every part moves a little further, and pictures change
        paint.forward = lambda pictures, told, source, fresh: Drawn(  # pyright: ignore
            pictures[:, -1] + 0.1,
            source._replace(masks=source.masks + 1.0, back=combined(source.back, step.expand_as(source.back))),
            torch.zeros(len(told), 0),
        )
    twice = combined(step, step)
    for age, back in ((1, step), (2, twice)):
        context = model.answer(context, torch.zeros(3, 2))
        assert (context.age == age).all() and torch.equal(context.source, first)
        assert torch.allclose(context.back, back.expand_as(context.back), atol=1e-6)
        assert (context.masks == age).all()
    context = model.answer(context, torch.zeros(3, 2))
    assert (context.age == 0).all() and torch.equal(context.source, context.seen.pictures[:, -1])
    assert torch.equal(context.back, torch.eye(2, 3).expand_as(context.back))


def test_each_environment_keeps_its_own_source():
    model = world()
    context = model.begin(recorded(model), 0)
    context = replace(context, age=torch.tensor([0, 2, 1]))
    assert model.answer(context, torch.zeros(3, 2)).age.tolist() == [1, 0, 2]


def test_the_loss_is_of_its_own_answers_to_the_last_actions():
    """Nothing where they are right; and each of them counts."""
    model = world()
    segment = recorded(model)
    truth = model.seen(segment)
    answers = iter((truth[:, :3], truth[:, :4]))
    model.answer = lambda context, action: model._begun(next(answers))  # pyright: ignore
    right, metrics = model.loss(segment)
    heads = metrics["reward"] + metrics["cont"]
    assert torch.allclose(right, heads, atol=1e-6) and float(metrics["drawn_1"]) == float(metrics["drawn_2"]) == 0
    for wrong in (0, 1):
        shown = [truth[:, :3], truth[:, :4]]
        shown[wrong] = replace(shown[wrong], pictures=shown[wrong].pictures + 0.5)
        answers = iter(shown)
        loss, metrics = model.loss(segment)
        assert float(metrics[f"drawn_{wrong + 1}"]) == pytest.approx(2 * 0.25, rel=1e-4)
        assert float(loss) == pytest.approx(float(heads) + 0.25, rel=1e-4)


def test_its_loss_begins_after_as_many_own_answers_as_chance_gives_each_window(monkeypatch):
    model = world(replace(SMALL, before=3, source_steps=8))
    segment = recorded(model, length=model.length)
    truth = model.seen(segment)
    monkeypatch.setattr(torch, "randint", lambda high, size, device: torch.tensor([0, 1, 3]))
    led = model._led(truth)
    assert led.age.tolist() == [0, 1, 3] and not led.source.requires_grad
    for i, own in enumerate((0, 1, 3)):
        context = model._begun(truth[i : i + 1, 3 - own : 5 - own])
        for t in range(5 - own, 5):
            context = model.answer(context, segment.action[i : i + 1, t])
        assert torch.allclose(led.seen.pictures[i], context.seen.pictures[0], atol=0.02)
        assert torch.equal(led.source[i], context.source[0])


def test_before_an_episode_begins_it_answers_nothing_of_its_own(monkeypatch):
    """An action of zero may be one that moves: a resting window's context is what was recorded."""
    model = world(replace(SMALL, before=3, source_steps=8))
    segment = recorded(model, length=model.length)
    pictures, action = segment.pictures.clone(), segment.action.clone()
    pictures[:, :4], action[:, :4] = pictures[:, 3:4], 0.0
    truth = model.seen(replace(segment, pictures=pictures, action=action))
    monkeypatch.setattr(torch, "randint", lambda high, size, device: torch.tensor([3, 3, 3]))
    assert model._led(truth).age.tolist() == [1, 1, 1]


def test_numbers_follow_pictures_and_actions():
    joints = (Part("joints", (3,)),)
    model = world(vectors=joints)
    model.fit_statistics(
        control_steps(torch.zeros(50, model.spec.obs_dim), 0.2 * torch.ones(50, model.spec.obs_dim), torch.zeros(50))
    )
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    context, action = model.begin(recorded(model), 0), torch.rand(3, 2)
    after = model.answer(context, action).seen.numbers[:, -1]
    other = replace(context, seen=replace(context.seen, pictures=-context.seen.pictures))
    assert not torch.allclose(after, model.answer(context, -action).seen.numbers[:, -1], atol=1e-4)
    assert not torch.allclose(after, model.answer(other, action).seen.numbers[:, -1], atol=1e-4)


def test_a_world_that_draws_pictures_asks_for_those_that_it_begins_from():
    model = world()
    with pytest.raises(ValueError, match="needs those of the steps that it begins from"):
        model.begin(replace(recorded(model), pictures=None), 0)
    with pytest.raises(ValueError, match="needs 2 observations to begin, found 1"):
        model.begin(recorded(model)[:, :1], 0)


class _Says(torch.nn.Module):
    """A network that says the same whatever it sees."""

    def __init__(self, said: torch.Tensor):
        super().__init__()
        self.said = said

    def forward(self, told: torch.Tensor) -> torch.Tensor:
        return self.said.expand(len(told), -1, -1)
