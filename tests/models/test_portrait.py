"""ChatAnyone whole: a picture that speaks, the same in a stream as from a file (CA-7, CA-15)."""

import pytest
import torch
from torch import Tensor

from models.chatanyone.body_motion import BodyMotion
from models.chatanyone.body_windows import BodyWindows
from models.chatanyone.face_motion_space import HeadMotion
from models.chatanyone.generate import RATE
from models.chatanyone.portrait import Networks, Portrait, perform
from models.chatanyone.puppet import Frames
from tests.models.test_face_motion import talk
from tests.portraits import BODY, HEIGHT, WIDTH, body_motion, networks, person


def whole(portrait: Portrait, sound: Tensor) -> Frames:
    return joined(list(perform(portrait, sound)))


def joined(windows: list[Frames]) -> Frames:
    head = type(windows[0].head)(*(torch.cat(parts, 1) for parts in zip(*(w.head for w in windows), strict=True)))
    move = type(windows[0].move)(*(torch.cat(parts, 1) for parts in zip(*(w.move for w in windows), strict=True)))
    return Frames(torch.cat([w.heads for w in windows], 1), move, torch.cat([w.hands for w in windows], 1), head)


def same(one: Frames, other: Frames, tolerance: float = 1e-3) -> None:
    for a, b in zip((*one.head, one.heads, *one.move), (*other.head, other.heads, *other.move), strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(one.hands, other.hands, atol=tolerance, rtol=tolerance)


@pytest.mark.paper("CA-7", "CA-15")
@pytest.mark.parametrize("chunk", [40, 200, 1000])
def test_a_stream_of_chunks_gives_the_frames_of_the_file(chunk):
    made, sound = networks(), talk(1.7)
    offline = whole(Portrait(made, person(), seed=3), sound)
    live, windows, held, first = Portrait(made, person(), seed=3), [], torch.zeros(0), 0
    step = chunk * RATE // 1000
    for at in range(0, len(sound), step):
        held = torch.cat([held, sound[at : at + step]])
        while first + len(held) >= live.span(live.number)[1]:
            windows.append(live.move(live.hear(held, live.number, first)))
            gone = max(0, live.span(live.number)[0]) - first  # what no window hears any more
            held, first = held[gone:], first + gone
    length = round(1.7 * 25)
    while live.number * live.window < length:  # the end: silence follows
        windows.append(live.move(live.hear(held, live.number, first)))
    same(joined(windows).first(length), offline)
    assert len(held) <= (live.history + 2 * live.window + live.look_ahead + 1) / 25 * RATE + step + 400


@pytest.mark.paper("CA-15")
def test_what_is_said_later_than_the_look_ahead_changes_nothing():
    made, sound = networks(), talk(2.0)
    other = sound.clone()
    other[RATE:] = talk(1.0, 5)
    one, two = (whole(Portrait(made, person()), speech) for speech in (sound, other))
    kept = 25 - made.face.look_ahead
    kept -= kept % made.face.window
    same(one.first(kept), two.first(kept))
    assert (one.move.movement[:, kept:] - two.move.movement[:, kept:]).abs().max() > 1e-3


@pytest.mark.paper("CA-9")
def test_frames_are_pictures_whose_faces_are_refined():
    made, sound = networks(), talk(0.4)
    portrait = Portrait(made, person())
    windows = list(perform(portrait, sound))
    plain = portrait.render(windows[0])
    assert plain.shape == (1, 5, 3, HEIGHT, WIDTH)
    refined = portrait.refine(plain, windows[0])
    assert (refined - plain).abs().max() > 1e-3
    pictures = portrait.pictures(windows[0])
    assert pictures.shape == (5, HEIGHT, WIDTH, 3)
    assert pictures.dtype == torch.uint8
    without = Portrait(made._replace(refiner=None), person())
    torch.testing.assert_close(without.refine(plain, windows[0]), plain)
    # Frames made one by one are those of the window.
    again = portrait.pictures(windows[0].first(2))
    assert (again.int() - pictures[:2].int()).abs().max() <= 1


@pytest.mark.paper("CA-7")
def test_the_body_follows_the_face_and_goes_on_from_itself():
    made = networks()
    heard = torch.zeros(1, made.face.heard, made.body.ear.channels)
    portrait = Portrait(made, person())
    first = portrait.move(heard)
    turned = first.head._replace(pose=first.head.pose + torch.tensor([0.0, 0.3, 0, 0, 0, 0]))
    one, two = Portrait(made, person()), Portrait(made, person())
    same(one.body(heard, first.head), first)
    assert (two.body(heard, turned).move.movement - first.move.movement).abs().max() > 1e-3
    moves = [portrait.move(heard) for _ in range(2)]
    body = portrait._body
    encoded, _ = made.body.space.encode(type(body.picture)(moves[-1].move, moves[-1].hands), body.picture)
    moved = encoded[..., : made.body.space.groups["hands"].start]
    torch.testing.assert_close(body._before[:, -5:, : moved.shape[-1]], moved, atol=1e-3, rtol=1e-3)
    assert portrait.number == 3


def test_another_seed_is_another_performance_of_body_and_face():
    made, sound = networks(), talk(0.4)
    one, again, other = (whole(Portrait(made, person(), seed=seed), sound) for seed in (1, 1, 2))
    same(one, again, 1e-5)
    assert (one.move.movement - other.move.movement).abs().max() > 1e-3
    assert (one.head.expression - other.head.expression).abs().max() > 1e-3


def test_networks_that_do_not_go_together_are_named():
    made = networks()
    with pytest.raises(ValueError, match=r"face_motion has window=5, body_motion has window=4"):
        Portrait(made._replace(body=body_motion(window=4)), person())
    with pytest.raises(ValueError, match=r"numbers of movement: 12, this network was trained with 0"):
        Portrait(made._replace(body=BodyMotion(**{**BODY, "movement_channels": 0})), person())
    with pytest.raises(ValueError, match=r"moves pictures of 32 x 48 pixels"):
        Portrait(made, person()._replace(image=torch.zeros(3, 8, 8)))
    portrait = Portrait(made, person())
    with pytest.raises(ValueError, match=r"a window hears \(1, 16, A\)"):
        portrait.move(torch.zeros(1, 3, 160))
    with pytest.raises(ValueError, match="speech has to be finite"):
        list(perform(portrait, talk(0.4) / 0))
    with pytest.raises(ValueError, match="shorter than half a frame"):
        list(perform(portrait, torch.zeros(100)))
    windows = BodyWindows(made.body, portrait.source, portrait.heads, person().hands[None])
    with pytest.raises(ValueError, match=r"a window has heads \(1, 5, 59, 3\)"):
        windows.next(torch.zeros(1, 16, 160), torch.zeros(1, 4, 59, 3))


def test_a_renderer_of_landmarks_knows_no_depth():
    made = networks()
    made.renderer.set_template("")
    assert Portrait(networks(), person()).project(portrait_head(made))[..., 2].any()
    assert not Portrait(made, person()).project(portrait_head(made))[..., 2].any()


def portrait_head(made: Networks) -> HeadMotion:
    heard = torch.zeros(1, made.face.heard, made.body.ear.channels)
    return Portrait(made, person()).face(heard)
