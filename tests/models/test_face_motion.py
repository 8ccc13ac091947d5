"""ChatAnyone's face motion: conditions, noise prediction, dials, style, and frames that do not depend on chunks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from models.chatanyone.face_motion import Conditions, FaceMotion
from models.chatanyone.face_motion_audio import LogMel, layers_by_frame
from models.chatanyone.face_motion_space import CHANNELS, HeadMotion
from models.chatanyone.generate import RATE, FaceWindows, generate, generate_chunks, hear, window_noise
from models.chatanyone.head import EXPRESSIONS
from tests.heads import coefficients, statistics
from tests.models.filled import filled

SMALL: dict[str, Any] = {
    "width": 32, "layers": 2, "heads": 2, "feedforward": 32, "dropout": 0.0, "audio_layers": 1, "history": 6,
    "preceding": 6, "reference": 4, "reference_step": 3, "sampling_steps": 3, "train_steps": 50,
}  # fmt: skip


def network(**options: Any) -> FaceMotion:
    torch.manual_seed(0)
    made = FaceMotion(**{**SMALL, **options})
    made.set_statistics(statistics())
    return filled(made).eval()


def given(net: FaceMotion, size: int = 3) -> Conditions:
    g = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(size, *shape, generator=g)

    yes = torch.ones(size, dtype=torch.bool)
    return Conditions(
        normal(net.heard, net.audio_inner.in_features), normal(net.preceding, CHANNELS), yes, torch.ones(size, 2),
        yes[:, None].expand(-1, 2), normal(net.reference, EXPRESSIONS), yes,
    )  # fmt: skip


def predict(net: FaceMotion, conditions: Conditions, drop: Tensor | None = None) -> Tensor:
    noisy = torch.randn(3, net.window, CHANNELS, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return net(noisy, torch.full((3,), 20), conditions, drop)


def talk(seconds: float, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    count = round(seconds * RATE)
    loud = torch.sin(torch.arange(count) / RATE * 12).clamp(min=0)
    return 0.2 * loud * torch.randn(count, generator=g)


@pytest.mark.paper("CA-4")
def test_it_predicts_noise_from_speech_and_preceding_motion():
    net, conditions = network(), given(network())
    output = predict(net, conditions)
    assert output.shape == (3, 5, CHANNELS)
    for name, changed in {
        "audio": conditions._replace(audio=conditions.audio + 1),
        "before": conditions._replace(before=conditions.before + 1),
        "begun": conditions._replace(has_before=torch.zeros(3, dtype=torch.bool)),
    }.items():
        assert (predict(net, changed) - output).abs().max() > 1e-4, name
    silent = predict(net, conditions, torch.ones(3, dtype=torch.bool))
    unheard = predict(net, conditions._replace(audio=conditions.audio + 1), torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(silent, unheard)
    # Eq. 1: the target is the noise, whatever x0 is, and the noise leads back to x0.
    x0, noise = torch.randn(3, 5, CHANNELS), torch.randn(3, 5, CHANNELS)
    levels = torch.tensor([3, 20, 40])
    scales = net.noise.scales(levels, x0)
    assert torch.equal(net.preconditioning.target(x0, noise, scales), noise)
    torch.testing.assert_close(net.x0(noise, net.noise.add(x0, noise, levels), levels), x0, atol=1e-3, rtol=1e-3)
    assert len(FaceMotion().layers) == 6


@pytest.mark.paper("CA-5")
def test_ranges_go_through_the_adaptive_norm():
    net, conditions = network(), given(network())
    output = predict(net, conditions)
    for dial in range(2):
        ranges = conditions.ranges.clone()
        ranges[:, dial] = 2.0
        louder = predict(net, conditions._replace(ranges=ranges))
        assert (louder - output).abs().max() > 1e-4
        free = conditions.has_ranges.clone()
        free[:, dial] = False
        torch.testing.assert_close(
            predict(net, conditions._replace(has_ranges=free)),
            predict(net, conditions._replace(has_ranges=free, ranges=ranges)),
        )
    # Nothing but the norms' own projection reads them.
    with torch.no_grad():
        net.norms.project.weight.zero_()
    torch.testing.assert_close(
        predict(net, conditions), predict(net, conditions._replace(ranges=3 * conditions.ranges))
    )
    off = network(use_ranges=False)
    torch.testing.assert_close(
        predict(off, conditions), predict(off, conditions._replace(ranges=3 * conditions.ranges))
    )


@pytest.mark.paper("CA-6")
def test_a_reference_is_joined_in_front_of_the_noise():
    net, conditions = network(), given(network())
    output = predict(net, conditions)
    assert output.shape[1] == net.window
    assert conditions.reference is not None
    other = conditions._replace(reference=conditions.reference + 1)
    assert (predict(net, other) - output).abs().max() > 1e-4
    none = torch.zeros(3, dtype=torch.bool)
    without = predict(net, conditions._replace(reference=None, has_reference=None))
    torch.testing.assert_close(predict(net, conditions._replace(has_reference=none)), without, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(predict(net, other._replace(has_reference=none)), without, atol=1e-5, rtol=1e-5)
    turned = conditions._replace(reference=conditions.reference.flip(1))  # its order in time counts
    assert (predict(net, turned) - output).abs().max() > 1e-5


@pytest.mark.parametrize("fps", [25.0, 24.0, 30.0, 29.97])
def test_mels_hear_nothing_behind_their_frame(fps):
    mel, sound = LogMel(), talk(2.0)[None]
    frames = round(2.0 * fps)
    whole = mel(sound, frames, fps)
    assert whole.shape == (1, frames, 160)
    first, count = 12, 7
    start, end = round(first / fps * RATE) - 400, round((first + count) / fps * RATE)
    part = mel(sound[:, start:end], count, fps, first, start)
    torch.testing.assert_close(part, whole[:, first : first + count], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mel(torch.zeros(1, RATE), 5, fps), torch.full((1, 5, 160), LogMel.silence))


def test_mels_tell_pitch_and_moment():
    mel = LogMel()
    time = torch.arange(RATE) / RATE
    for hertz in (200.0, 1000.0, 4000.0):
        tone = mel(0.3 * torch.sin(2 * torch.pi * hertz * time)[None], 25, 25.0)[0, 10].unflatten(0, (4, 40))
        wanted = 2595 * torch.log10(torch.tensor(1 + hertz / 700))
        edges = torch.linspace(2595 * torch.log10(torch.tensor(1 + 60 / 700)).item(), 2840.0, 42)[1:-1]
        assert abs(int(tone[0].argmax()) - int((edges - wanted).abs().argmin())) <= 1
    click = torch.zeros(1, RATE)
    click[0, 8000] = 1.0  # at half a second: frame 12, its third quarter
    loud = (mel(click, 25, 25.0)[0] > LogMel.silence + 0.1).any(1)
    assert loud[12]
    assert not loud[:12].any()


def test_layers_come_to_frames():
    layers = torch.randn(2, 3, 100, 8)
    output = layers_by_frame(layers, 50, 25.0)
    assert output.shape == (2, 50, 16)
    torch.testing.assert_close(layers_by_frame(layers[:, :, 40:], 10, 25.0, 20, 40), output[:, 20:30])
    net = network(audio="layers", layer_channels=8)
    motion = generate(net, layers, coefficients(2)[1])
    assert motion.expression.shape == (2, 50, EXPRESSIONS)
    with pytest.raises(ValueError, match=r"layers \(B, L, S, 8\)"):
        generate(net, torch.randn(2, 3, 100, 9), coefficients(2)[1])


@pytest.mark.paper("CA-15")
def test_more_look_ahead_than_a_fifth_of_a_second_is_refused():
    FaceMotion(**{**SMALL, "look_ahead": 5})
    FaceMotion(**{**SMALL, "look_ahead": 6, "fps": 30.0})
    with pytest.raises(ValueError, match=r"at most 0.2 s \(CA-15\), 5 frames at 25"):
        FaceMotion(**{**SMALL, "look_ahead": 6})


@pytest.mark.paper("CA-15")
@pytest.mark.parametrize("chunk", [40, 200, 1000])
def test_a_stream_of_chunks_gives_the_frames_of_the_whole(chunk):
    net, sound, pose = network(), talk(1.7)[None], coefficients(1)[1]
    length = round(1.7 * 25)
    offline = generate(net, sound, pose, seed=3)
    windows = FaceWindows(net, pose, seed=3)
    made, held = [], torch.zeros(1, 0)
    step = chunk * RATE // 1000
    for at in range(0, sound.shape[1], step):
        held = torch.cat([held, sound[:, at : at + step]], 1)
        while held.shape[1] >= round((windows.number * net.window + net.window + net.look_ahead) / 25 * RATE):
            made.append(windows.next(heard_so_far(net, held, windows.number)))
    while windows.number * net.window < length:  # the end: silence follows
        made.append(windows.next(heard_so_far(net, held, windows.number)))
    expression = torch.cat([each.expression for each in made], 1)[:, :length]
    pose = torch.cat([each.pose for each in made], 1)[:, :length]
    torch.testing.assert_close(expression, offline.expression, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(pose, offline.pose, atol=1e-3, rtol=1e-3)


def heard_so_far(net: FaceMotion, held: Tensor, number: int) -> Tensor:
    """What a window hears of the sound that has arrived, by nothing but its own samples."""
    first = number * net.window - net.history
    start = max(0, round(first / 25 * RATE) - 400)
    end = round((first + net.heard) / 25 * RATE)
    return hear(net, held[:, start:end], first, net.heard, start)


@pytest.mark.paper("CA-15")
def test_what_is_said_later_than_the_look_ahead_changes_nothing():
    net, pose = network(), coefficients(1)[1]
    sound = talk(2.0)[None]
    other = sound.clone()
    other[:, RATE:] = talk(1.0, 5)
    one, two = (generate(net, speech, pose) for speech in (sound, other))
    same = RATE * 25 // RATE - net.look_ahead  # the last frame whose window may not have heard it
    same -= same % net.window
    torch.testing.assert_close(one.expression[:, :same], two.expression[:, :same], atol=1e-4, rtol=1e-4)
    assert (one.expression[:, same:] - two.expression[:, same:]).abs().max() > 1e-3


def test_the_same_seed_gives_the_same_motion_and_rows_do_not_matter():
    net, pose = network(), coefficients(2)[1]
    sound = torch.stack([talk(1.0), talk(1.0, 1)])
    both = generate(net, sound, pose, seed=1)
    again = generate(net, sound, pose, seed=1)
    torch.testing.assert_close(both.expression, again.expression)
    single = generate(net, sound[0], pose[0], seed=1)
    torch.testing.assert_close(single.expression, both.expression[0], atol=1e-4, rtol=1e-4)
    assert (generate(net, sound, pose, seed=2).expression - both.expression).abs().max() > 1e-3
    assert torch.equal(window_noise(0, 1, 7, 5), window_noise(0, 1, 7, 5))
    assert not torch.equal(window_noise(0, 1, 7, 5), window_noise(0, 1, 8, 5))
    chunks = list(generate_chunks(net, sound, pose, seed=1))
    assert [chunk.pose.shape[1] for chunk in chunks] == [5] * 5


def test_preceding_motion_is_what_was_made():
    net, pose = network(), coefficients(1)[1]
    windows = FaceWindows(net, pose)
    heard = torch.zeros(1, net.heard, 160)
    made = [windows.next(heard) for _ in range(3)]
    motion = HeadMotion(*(torch.cat(parts, 1) for parts in zip(*made, strict=True)))
    torch.testing.assert_close(
        windows._before, net.space.encode(motion, pose)[:, -net.preceding :], atol=1e-4, rtol=1e-4
    )


def test_the_space_goes_there_and_back():
    space = network().space
    expression, pose, _ = coefficients(20)
    motion = HeadMotion(expression[None], pose[None])
    encoded = space.encode(motion, pose[:1])
    back = space.decode(encoded, pose[:1])
    torch.testing.assert_close(back.pose[0], pose)
    torch.testing.assert_close(back.expression[0, :, :2], expression[:, :2])
    assert not encoded[..., 2:EXPRESSIONS].any()  # coefficients that the template does not use
    assert space.template_sha256 == "ab" * 32
    half = space.ranges(encoded / 2)
    torch.testing.assert_close(2 * half, space.ranges(encoded))


def test_bad_input_is_named():
    net, sound, pose = network(), talk(1.0)[None], coefficients(1)[1]
    with pytest.raises(ValueError, match="speech has to be finite"):
        generate(net, sound / 0, pose)
    with pytest.raises(ValueError, match="pose has to be finite"):
        generate(net, sound, pose * float("nan"))
    with pytest.raises(ValueError, match="shorter than half a frame"):
        generate(net, sound[:, :100], pose)
    with pytest.raises(ValueError, match="reference has 9 frames, the network reads 10"):
        generate(net, sound, pose, reference=torch.zeros(1, 9, EXPRESSIONS))
    with pytest.raises(ValueError, match="without style transfer"):
        generate(network(reference=0), sound, pose, reference=torch.zeros(1, 9, EXPRESSIONS))
    with pytest.raises(ValueError, match=r"pose has to be \(B, 6\)"):
        generate(net, sound, pose[:, :5])
    with pytest.raises(ValueError, match="divided"):
        FaceMotion(width=30, heads=4)


def test_checkpointing_gives_the_same_gradients():
    conditions = given(network())
    gradients = []
    for checkpointed in (False, True):
        net = network().train()
        if checkpointed:
            net.enable_gradient_checkpointing()
        noisy = torch.randn(3, 5, CHANNELS, generator=torch.Generator().manual_seed(2))
        net(noisy, torch.full((3,), 20), conditions).square().mean().backward()
        gradients.append({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value)
