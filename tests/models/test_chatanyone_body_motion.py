"""ChatAnyone's body motion: what it predicts, from what, and the numbers that are denoised (CA-7)."""

import pytest
import torch
from torch import Tensor

from models.chatanyone.body_motion import BodyConditions, BodyMotion
from models.chatanyone.body_motion_space import HEAD, BodyMoves
from models.chatanyone.head import INDICES
from models.chatanyone.renderer import FrameMotion
from tests.portraits import APPEARANCE, BODY, MOVEMENT, body_motion, body_statistics, hands

K = len(INDICES)


def given(net: BodyMotion, size: int = 3) -> BodyConditions:
    g = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(size, *shape, generator=g)

    return BodyConditions(
        normal(net.heard, net.ear.channels), normal(net.preceding + net.window, HEAD), normal(APPEARANCE),
        normal(net.space.picture_channels), normal(net.preceding, net.space.channels),
        torch.ones(size, dtype=torch.bool),
    )  # fmt: skip


def predict(net: BodyMotion, conditions: BodyConditions, drop: Tensor | None = None) -> Tensor:
    noisy = torch.randn(3, net.window, net.space.channels, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return net(noisy, torch.full((3,), 20), conditions, drop)


def moves(*shape: int, seed: int = 0) -> BodyMoves:
    g = torch.Generator().manual_seed(seed)

    def normal(*last: int) -> Tensor:
        return torch.randn(*shape, *last, generator=g)

    move = FrameMotion(0.02 * normal(K, 3), 0.2 * normal(MOVEMENT // 3, 3), 1 + 0.02 * normal(1), 0.03 * normal(3))
    return BodyMoves(move, hands(*shape, seed=seed))


@pytest.mark.paper("CA-7")
def test_two_layers_predict_offsets_body_points_and_hands_from_face_speech_and_appearance():
    net, conditions = body_motion(), given(body_motion())
    assert len(BodyMotion().layers) == 2
    output = predict(net, conditions)
    assert output.shape == (3, 5, 3 * K + MOVEMENT + 4 + 2 * 42 + 2)
    for name, changed in {
        "face": conditions._replace(heads=conditions.heads + 1),
        "audio": conditions._replace(audio=conditions.audio + 1),
        "appearance": conditions._replace(appearance=conditions.appearance * torch.rand(APPEARANCE)),
        "picture": conditions._replace(picture=conditions.picture + 1),
        "before": conditions._replace(before=conditions.before + 1),
        "begun": conditions._replace(has_before=torch.zeros(3, dtype=torch.bool)),
    }.items():
        assert (predict(net, changed) - output).abs().max() > 1e-4, name
    # Each of the paper's three by cross-attention of its own.
    for block in net.layers:
        assert {"face", "audio", "picture"} <= set(block.crossing)
    silent = predict(net, conditions, torch.ones(3, dtype=torch.bool))
    unheard = predict(net, conditions._replace(audio=conditions.audio + 1), torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(silent, unheard)


@pytest.mark.paper("CA-7")
@pytest.mark.parametrize(("switch", "field"), [("face", "heads"), ("audio", "audio"), ("appearance", "appearance")])
def test_each_condition_can_be_left_out(switch, field):
    net = body_motion(**{f"use_{switch}": False})
    conditions = given(net)
    other = conditions._replace(**{field: torch.rand_like(getattr(conditions, field))})
    torch.testing.assert_close(predict(net, conditions), predict(net, other))


def test_a_narrow_network_tells_noise_in_more_numbers_than_its_width():
    """Where nothing moves x_t is noise times a number: all of it can be told, though 32 channels pass."""
    torch.manual_seed(0)
    net = BodyMotion(**BODY)
    assert net.space.channels > 4 * net.head.in_features
    conditions, last = given(net), torch.full((3,), net.noise.train_steps - 1)
    optimizer = torch.optim.Adam(net.parameters(), 3e-2)
    for _ in range(60):
        noise = torch.randn(3, net.window, net.space.channels)
        loss = (net(net.noise.add(torch.zeros_like(noise), noise, last), last, conditions) - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02


def test_the_order_of_faces_and_moments_counts():
    net, conditions = body_motion(), given(body_motion())
    for field in ("heads", "audio", "before"):
        turned = conditions._replace(**{field: getattr(conditions, field).flip(1)})
        assert (predict(net, turned) - predict(net, conditions)).abs().max() > 1e-5, field


@pytest.mark.paper("CA-7")
def test_the_space_goes_there_and_back():
    space = body_motion().space
    true, picture = moves(2, 7), moves(2, seed=5)
    x0, known = space.encode(true, picture)
    assert x0.shape == known.shape == (2, 7, space.channels)
    back = space.decode(x0, picture)
    for one, other in zip(back.move, true.move, strict=True):
        used = slice(None) if other.shape[-2:] != (K, 3) else slice(0, K - 1)
        torch.testing.assert_close(one[:, :, used], other[:, :, used])
    # Numbers that never move stay the picture's; hands that are not seen have no place and are none.
    torch.testing.assert_close(back.move.offset[:, :, -1, 1:], picture.move.offset[:, None, -1, 1:].expand(-1, 7, -1))
    torch.testing.assert_close(back.hands[..., :21, :], true.hands[..., :21, :])
    assert not back.hands[..., 21:, 2].any()
    where = space.groups["hands"]
    assert known[..., where][..., :42].all()
    assert not known[..., where][..., 42:84].any()
    assert not x0[..., where][..., 42:84].any()
    assert x0[..., -2:].unique().tolist() == [-1, 1]
    assert space.renderer_sha256 == "ab" * 32


def test_what_is_known_of_a_picture_tells_hands_that_are_not_seen():
    space = body_motion().space
    picture = moves(2)
    heads = torch.rand(2, K, 3)
    found = space.encode_picture(heads, picture)
    assert found.shape == (2, space.picture_channels)
    elsewhere = picture.hands.clone()
    elsewhere[:, 21:, :2] = 0.3  # of score 0
    torch.testing.assert_close(space.encode_picture(heads, picture._replace(hands=elsewhere)), found)
    assert not space.encode_heads(heads[:, None], heads).any()


def test_features_of_another_renderer_are_refused():
    with pytest.raises(ValueError, match=r"have 12 numbers of movement, the network makes 9"):
        BodyMotion(**{**BODY, "movement_channels": 9}).set_statistics(body_statistics())
    with pytest.raises(ValueError, match="look_ahead is at most"):
        body_motion(look_ahead=6)
    heads_alone = body_motion_without_body()
    _, known = heads_alone.space.encode(*(alone(moves(*shape)) for shape in ((2, 7), (2,))))
    assert known.shape[-1] == 3 * K + 4 + 86


def body_motion_without_body() -> BodyMotion:
    return BodyMotion(**{**BODY, "movement_channels": 0})


def alone(of: BodyMoves) -> BodyMoves:
    return of._replace(move=of.move._replace(movement=of.move.movement[..., :0, :]))


def test_checkpointing_gives_the_same_gradients():
    conditions = given(body_motion())
    gradients = []
    for checkpointed in (False, True):
        net = body_motion().train()
        if checkpointed:
            net.enable_gradient_checkpointing()
        noisy = torch.randn(3, 5, net.space.channels, generator=torch.Generator().manual_seed(2))
        net(noisy, torch.full((3,), 20), conditions).square().mean().backward()
        gradients.append({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    assert gradients[0]
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value)
