"""What a robot with an eye of its own senses: what it shows, what it remembers, and what it refuses."""

import math

import pytest
import torch
from torch import Tensor

from glocal.core.spec import Part
from glocal.models.codecs.egocentric import (
    FARTHEST,
    HIDDEN,
    IN_SIGHT,
    UNKNOWN,
    EgocentricCodec,
    EgocentricCodecConfig,
    egocentric_spec,
)
from glocal.models.codecs.surroundings import Motion
from glocal.runtime.files import UserError
from tests.models.codecs.test_colours import BLUE, RED, pictures, square, which

VECTORS = (Part("speed", (2,)),)
CONFIG = EgocentricCodecConfig(colours=3, width=16, rows=4)
COLOURS = {"red": RED, "blue": BLUE}


def made(cameras=("head",)) -> EgocentricCodec:
    torch.manual_seed(0)
    codec = EgocentricCodec(CONFIG, VECTORS, dict.fromkeys(cameras, 32))
    codec.fit_statistics({"speed": torch.randn(60, 2)} | {name: pictures() for name in cameras})
    codec.missed.fill_(0.5)
    in_sight(codec, 0.0)
    return codec


def in_sight(codec: EgocentricCodec, chance: float) -> None:
    """Let everything be in sight with that chance, wherever it is."""
    codec.around.sight.weights[-1].data.zero_()
    codec.around.sight.biases[-1].data.fill_(math.log(max(chance, 1e-9) / (1 - chance)))


def fields(*shown: Tensor) -> dict[str, Tensor]:
    return {"speed": torch.zeros(len(shown), 2), "head": torch.cat(shown)}


def thing(codec: EgocentricCodec, obs: Tensor, colour) -> Tensor:
    """x, y and how sure it is, of the thing of a colour."""
    return obs[..., 2:].unflatten(-1, (-1, 3))[..., which(codec._colours("head"), colour), :]


def motion_between(codec: EgocentricCodec, before: Tensor, after: Tensor) -> Motion:
    return codec.around.motion(before[:, :2], after[:, :2])


def test_a_look_shows_what_is_seen_and_nothing_of_what_is_not():
    codec = made()
    obs = codec.encode(fields(square(20, 4, RED)))
    assert obs.shape == (1, egocentric_spec(CONFIG, VECTORS, {"head": 32}, 3).obs_dim)
    red = thing(codec, obs, RED)[0]
    assert red[2] == 1 and red[:2].norm() > 0.1
    assert thing(codec, obs, BLUE)[0].tolist() == [0, 0, 0]


def test_windows_of_fields_are_encoded_as_rows_are():
    codec = made()
    window = {"speed": torch.randn(2, 5, 2), "head": pictures(10).unflatten(0, (2, 5))}
    flat = {name: x.flatten(0, 1) for name, x in window.items()}
    assert torch.allclose(codec.encode(window).flatten(0, 1), codec.encode(flat), atol=1e-5)


def test_what_has_no_place_is_shown_nowhere():
    codec = made()
    codec.missed[which(codec._colours("head"), RED)] = 0.95
    assert thing(codec, codec.encode(fields(square(20, 4, RED))), RED)[0].tolist() == [0, 0, 0]
    assert codec.found() == ["head: 2 of 3 colours are of things that have a place"]


def test_what_leaves_the_picture_is_carried_along_and_gets_less_sure():
    codec = made()
    first = codec.observe(fields(square(20, 4, RED)))
    later = codec.observe(fields(square(8, 8, BLUE)), first)
    motion = codec.around.motion(first[:, :2], later[:, :2])
    red = thing(codec, first, RED)
    assert torch.allclose(thing(codec, later, RED)[:, :2], Motion(*motion).carried(red[:, None, :2])[:, 0], atol=1e-5)
    assert thing(codec, later, RED)[0, 2].item() == pytest.approx(0.95)
    assert thing(codec, later, BLUE)[0, 2] == 1
    again = codec.observe(fields(square(20, 4, RED)), later)
    carried = motion_between(codec, later, again).carried(thing(codec, later, RED)[:, None, :2])[:, 0]
    kept = (1 - CONFIG.gain) * 0.95**4
    mixed = kept * carried + (1 - kept) * red[:, :2]
    assert torch.allclose(thing(codec, again, RED)[:, :2], mixed, atol=1e-5) and thing(codec, again, RED)[0, 2] == 1


def test_many_looks_tell_a_place_better_than_one_and_the_first_counts_whole():
    codec = made()
    for part in codec.around.felt.parameters():
        part.data.zero_()  # the robot stands
    looks, obs, errors = [], None, []
    for seed in range(60):
        torch.manual_seed(seed)
        one = codec.observe(fields(square(20, 4, RED)))
        at = 2 + 3 * which(codec._colours("head"), RED)
        one[:, at : at + 2] += 0.2 * torch.randn(2)
        obs = one if obs is None else codec._since(obs, one)
        looks.append(thing(codec, one, RED)[0, :2])
        errors.append(thing(codec, obs, RED)[0, :2])
        if seed == 0:
            assert torch.equal(looks[0], errors[0])
    spread = [torch.stack(some)[20:].std(0).mean() for some in (looks, errors)]
    assert spread[1] < 0.7 * spread[0]


def so(codec: EgocentricCodec, obs: Tensor, **known: tuple[float, float, float]) -> Tensor:
    """What is so, of red and blue: places and whether they are in sight."""
    told = obs.clone()
    things = told[:, 2:].unflatten(-1, (-1, 3))
    things[:] = torch.tensor([0.0, 0.0, UNKNOWN])
    for name, place in known.items():
        things[:, which(codec._colours("head"), COLOURS[name])] = torch.tensor(place)
    return told


def where_in_sight(codec: EgocentricCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let things ahead be in sight now and then, and behind never."""
    monkeypatch.setattr(codec.around, "shown", lambda places: 0.3 * (places[..., 0] > 0))


def test_in_imagination_nothing_is_shown_of_what_never_is_in_sight_where_it_is(monkeypatch):
    codec = made()
    before = codec.observe(fields(square(20, 4, RED)))
    where_in_sight(codec, monkeypatch)
    for x, expected in ((2.0, [2.0, 1.0, 1.0]), (-2.0, [0.0, 0.0, 0.0])):
        after = codec.follow(before, so(codec, before, blue=(x, 1.0, IN_SIGHT)))
        assert thing(codec, after, BLUE)[0].tolist() == expected


def test_of_what_is_so_a_robot_is_shown_what_is_in_sight_and_carries_the_rest(monkeypatch):
    codec = made()
    before = codec.observe(fields(square(8, 8, BLUE)), codec.observe(fields(square(20, 4, RED))))
    monkeypatch.setattr(codec.around, "shown", lambda places: (places[..., 0] == 1.0).float())
    after = codec.follow(before, so(codec, before, red=(9.0, 9.0, 0.2), blue=(1.0, -0.5, 0.9)))
    motion = motion_between(codec, before, after)
    red, blue = (motion.carried(thing(codec, before, one)[:, None, :2])[:, 0] for one in (RED, BLUE))
    assert torch.allclose(thing(codec, after, RED)[:, :2], red, atol=1e-5)
    assert thing(codec, after, RED)[0, 2].item() == pytest.approx(0.95**2)
    looked = CONFIG.gain * torch.tensor([1.0, -0.5]) + (1 - CONFIG.gain) * blue
    assert torch.allclose(thing(codec, after, BLUE)[:, :2], looked, atol=1e-5) and thing(codec, after, BLUE)[0, 2] == 1


@pytest.mark.parametrize("shown, expected", [(0.3, [0.0, 0.0, 0.0]), (0.8, [2.0, 1.0, 1.0])])
def test_what_was_never_seen_is_nowhere_for_the_robot_wherever_it_is_until_it_is_in_sight(shown, expected, monkeypatch):
    codec = made()
    before = codec.observe(fields(square(20, 4, RED)))
    where_in_sight(codec, monkeypatch)
    assert thing(codec, codec.follow(before, so(codec, before, blue=(2.0, 1.0, shown))), BLUE)[0].tolist() == expected


def recording(codec: EgocentricCodec, *shown: Tensor) -> tuple[Tensor, Tensor]:
    """One look for each control step of an episode, and what is remembered of them, by a robot that turns and walks."""
    torch.manual_seed(2)
    looks = codec.encode({"speed": torch.randn(len(shown), 2), "head": torch.cat(shown)})
    return looks, codec.remembered(looks, torch.tensor([0, len(shown)]))


def test_afterwards_it_is_known_where_things_were_before_they_were_seen():
    codec = made()
    looks, kept = recording(codec, *[square(8, 8, BLUE)] * 3, square(20, 4, RED))
    known = codec.hindsight(kept, torch.tensor([0, 4]))
    for t in range(3):
        motion = motion_between(codec, known[t : t + 1], known[t + 1 : t + 2])
        carried = motion.carried(thing(codec, known[t : t + 1], RED)[:, None, :2])[:, 0]
        assert torch.allclose(carried, thing(codec, known[t + 1 : t + 2], RED)[:, :2], atol=1e-4)
    assert torch.allclose(thing(codec, known, RED)[3, :2], thing(codec, looks, RED)[3, :2], atol=1e-4)
    assert thing(codec, known, RED)[:, 2].tolist() == [HIDDEN] * 3 + [IN_SIGHT]
    assert thing(codec, known, BLUE)[:, 2].tolist() == [IN_SIGHT] * 3 + [HIDDEN]
    assert torch.equal(known[:, :2], kept[:, :2])


def test_of_what_is_never_seen_nothing_is_known_afterwards_either():
    codec = made()
    _, kept = recording(codec, *[square(20, 4, RED)] * 4)
    known = codec.hindsight(kept, torch.tensor([0, 4]))
    assert thing(codec, known, BLUE).tolist() == [[0.0, 0.0, UNKNOWN]] * 4


def test_between_two_looks_a_thing_is_nearer_to_where_the_closer_one_in_time_says():
    codec = made()
    for part in codec.around.felt.parameters():
        part.data.zero_()  # the robot stands, and somebody moves the thing
    _, kept = recording(codec, square(20, 4, RED), *[square(8, 8, BLUE)] * 5, square(4, 4, RED))
    known = codec.hindsight(kept, torch.tensor([0, 7]))
    places = thing(codec, known, RED)[:, :2]
    share = (places - places[0]).norm(dim=-1) / (places[6] - places[0]).norm()
    assert share[3].item() == pytest.approx(0.5, abs=0.01)
    assert (share.diff() > 0).all() and share[1] < 0.3 and share[5] > 0.7


def test_what_is_known_afterwards_is_each_episodes_own():
    codec = made()
    shown = {"speed": torch.randn(9, 2), "head": pictures(9, seed=3)}
    starts, looks = torch.tensor([0, 4, 9]), codec.encode(shown)
    both = codec.hindsight(codec.remembered(looks, starts), starts)
    for begin, end in ((0, 4), (4, 9)):
        alone = torch.tensor([0, end - begin])
        one = codec.hindsight(codec.remembered(looks[begin:end], alone), alone)
        assert torch.allclose(both[begin:end], one, atol=1e-5)


def test_what_should_be_in_sight_and_is_not_is_less_sure_to_be_there_and_then_forgotten():
    codec = made()
    in_sight(codec, 0.9)
    obs = codec.observe(fields(square(20, 4, RED)))
    sure, expected = [], 1.0
    for _ in range(6):
        obs = codec.observe(fields(square(8, 8, BLUE)), obs)
        sure.append(thing(codec, obs, RED)[0, 2].item())
        expected *= 0.95
        expected = 0.1 * expected / (1 - 0.9 * expected)
        assert sure[-1] == pytest.approx(expected if expected > 1e-3 else 0.0, rel=1e-3)
    assert sure[-1] == 0 and sure[1] > 0
    assert thing(codec, obs, RED)[0].tolist() == [0, 0, 0]
    assert thing(codec, codec.observe(fields(square(8, 8, RED)), obs), RED)[0, 2] == 1


def test_where_a_thing_was_is_known_afterwards_though_the_robot_forgot_it():
    codec = made()
    in_sight(codec, 0.99)
    _, kept = recording(codec, square(20, 4, RED), *[square(8, 8, BLUE)] * 6)
    known = codec.hindsight(kept, torch.tensor([0, 7]))
    assert thing(codec, kept, RED)[-1].tolist() == [0, 0, 0]
    assert thing(codec, known, RED)[:, 2].tolist() == [IN_SIGHT] + [HIDDEN] * 6
    for t in range(6):
        motion = motion_between(codec, known[t : t + 1], known[t + 1 : t + 2])
        carried = motion.carried(thing(codec, known[t : t + 1], RED)[:, None, :2])[:, 0]
        assert torch.allclose(carried, thing(codec, known[t + 1 : t + 2], RED)[:, :2], atol=1e-4)


def test_in_imagination_too_what_should_be_in_sight_and_is_not_is_less_sure():
    codec = made()
    before = codec.observe(fields(square(20, 4, RED)))
    in_sight(codec, 0.9)
    after = codec.follow(before, so(codec, before, red=(1.0, 0.0, HIDDEN)))
    assert thing(codec, after, RED)[0, 2].item() == pytest.approx(0.1 * 0.95 / (1 - 0.9 * 0.95), rel=1e-3)


def moved(codec: EgocentricCodec, monkeypatch: pytest.MonkeyPatch, x: float, y: float) -> None:
    """Let the robot move so that what stands still is shifted, whatever it feels."""
    motion = Motion(torch.tensor([[x, y]]), torch.zeros(1))
    monkeypatch.setattr(codec, "_motion", lambda before, after: motion)


def test_whether_a_thing_should_be_in_sight_is_asked_of_where_it_is_carried_to(monkeypatch):
    codec, asked = made(), []
    monkeypatch.setattr(codec.around, "shown", lambda places: asked.append(places) or torch.zeros(places.shape[:-1]))
    moved(codec, monkeypatch, 1.0, -0.5)
    first = codec.observe(fields(square(20, 4, RED)))
    codec.observe(fields(square(8, 8, BLUE)), first)
    assert torch.allclose(asked[0], codec.parts(first)[1] + torch.tensor([1.0, -0.5]))


def test_where_a_thing_was_before_it_was_seen_is_known_though_it_should_have_been_in_sight():
    codec = made()
    in_sight(codec, 0.99)
    _, kept = recording(codec, *[square(8, 8, BLUE)] * 6, square(20, 4, RED))
    known = codec.hindsight(kept, torch.tensor([0, 7]))
    assert thing(codec, known, RED)[:, 2].tolist() == [HIDDEN] * 6 + [IN_SIGHT]


def test_looks_come_back_from_what_is_remembered_of_them():
    codec = made()
    looks, kept = recording(codec, square(20, 4, RED), square(8, 8, BLUE), square(16, 6, RED), square(18, 5, RED))
    assert torch.allclose(codec._shown(kept[:-1], kept[1:]), looks[1:], atol=1e-4)


def test_nothing_is_carried_farther_than_the_farthest(monkeypatch):
    codec = made()
    first = codec.observe(fields(square(20, 4, RED)))
    moved(codec, monkeypatch, 100.0, -100.0)
    later = codec.observe(fields(square(8, 8, BLUE)), first)
    assert thing(codec, later, RED)[0, :2].tolist() == [FARTHEST, -FARTHEST]
    look = codec.encode(fields(square(20, 4, RED)))
    assert torch.allclose(codec._shown(later, codec._since(later, look)), look, atol=1e-4)


def test_what_was_not_seen_twice_has_no_place():
    codec = made()
    codec.missed.zero_()
    assert not codec.placed.any()
    assert codec.found() == ["head: 0 of 3 colours are of things that have a place"]


def test_where_things_are_in_sight_is_learned():
    codec = made()
    torch.manual_seed(0)
    places = 3 * torch.randn(2000, 3, 2)
    seen = places[..., 0] > 0
    fit = torch.optim.Adam(codec.around.sight.parameters(), lr=1e-2)
    for _ in range(200):
        fit.zero_grad()
        codec.around._unforeseen(places, places, torch.ones_like(seen), seen).backward()
        fit.step()
    ahead, behind = codec.around.shown(torch.tensor([[[2.0, 0.0]] * 3, [[-2.0, 0.0]] * 3]))
    assert ahead.min() > 0.9 and behind.max() < 0.1


def test_what_was_never_seen_stays_nowhere():
    codec = made()
    obs = codec.observe(fields(square(20, 4, RED)))
    for _ in range(3):
        obs = codec.observe(fields(square(20, 4, RED)), obs)
    assert thing(codec, obs, BLUE)[0].tolist() == [0, 0, 0]


def test_recordings_are_remembered_as_a_robot_remembers_episode_by_episode():
    codec = made()
    shown = {"speed": torch.randn(9, 2), "head": pictures(9, seed=3)}
    starts = torch.tensor([0, 4, 9])
    whole = codec.remembered(codec.encode(shown), starts)
    for begin, end in ((0, 4), (4, 9)):
        before = None
        for row in range(begin, end):
            before = codec.observe({name: x[row : row + 1] for name, x in shown.items()}, before)
            assert torch.allclose(whole[row : row + 1], before, atol=1e-5)


@pytest.mark.parametrize("begin, forgotten", [(0, False), (5, True)])
def test_a_window_can_be_had_as_by_a_robot_that_is_switched_on_with_it(begin, forgotten):
    codec = made()
    shown = {"speed": torch.randn(9, 2), "head": pictures(9, seed=3)}
    seen, count = codec.encode(shown), 9 - begin
    whole = codec.remembered(seen, torch.tensor([0, 9]))[begin:]
    found, anew = codec.begun(torch.stack([whole, whole])), codec.remembered(seen[begin:], torch.tensor([0, count]))
    (_, places, sure), (_, _, surely), (_, where, _) = (codec.parts(x) for x in (found[1], anew, whole))
    assert torch.allclose(sure, surely, atol=1e-6)
    assert torch.equal(places[sure == 0], torch.zeros_like(places[sure == 0]))
    assert torch.equal(places[sure > 0], where[sure > 0])
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert torch.allclose(found[0], whole, atol=1e-5) != forgotten


def test_vectors_come_back_and_two_cameras_have_things_of_their_own():
    codec = made(("head", "back"))
    shown = {"speed": torch.randn(4, 2), "head": pictures(4), "back": pictures(4, seed=5)}
    obs = codec.encode(shown)
    assert obs.shape == (4, 2 + 2 * 9)
    assert torch.allclose(codec.decode(obs)["speed"], shown["speed"], atol=1e-5)
    assert set(codec.decode(obs)) == {"speed"}
    assert torch.equal(codec.looks(shown).area[:, :3], codec._colours("head")(shown["head"]).area)


def test_it_learns_from_windows_and_takes_note_of_what_has_a_place():
    codec = made()
    codec.missed.zero_()
    window = {"speed": torch.randn(64, 4, 2), "head": pictures(256).unflatten(0, (64, 4))}
    loss, metrics = codec.loss(window)
    loss.backward()
    assert set(metrics) == {"carried", "alone", "sight", "placed"}
    assert (codec.missed[codec.missed > 0] > 0.1).all(), "the first note counts whole"
    assert (codec.missed > 0).any() and any(
        p.grad is not None and p.grad.any() for p in codec.around.place.parameters()
    )


def test_without_numbers_it_says_what_is_missing():
    with pytest.raises(UserError, match="found by what it feels of how it moves"):
        EgocentricCodec(CONFIG, (), {"head": 32})
