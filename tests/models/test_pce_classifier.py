"""Classifiers of regions: sequence, places, windows, the encoder they start from."""

import dataclasses
import json

import pytest
import torch

from models.paha.classifier import PCEClassifier
from models.paha.univdm import UniVDM, UniVDMInputs
from tests.models.filled import filled
from tests.models.test_univdm import SMALL, B, differs, normal

UNIVDM = {**SMALL, "motion_frames": 4, "channels": (8, 16)}
SIZE = (5, 3)


def tiny(**options) -> PCEClassifier:
    torch.manual_seed(0)
    sizes = {"univdm": UNIVDM, "width": 16, "depth": 2, "heads": 2, "dropout": 0.0, **options}
    return filled(PCEClassifier(**sizes), std=0.3).eval()


def asked(frames: int = 6, heard: int = 9, seed: int = 0):
    given = UniVDMInputs(
        reference=normal(B, 4, *SIZE, seed=seed), image=normal(B, 1, 6, seed=seed + 1),
        audio=normal(B, heard, 5, 2, 5, seed=seed + 2),
    )  # fmt: skip
    return normal(B, 4, frames, *SIZE, seed=seed + 3), torch.tensor([40, 10]), given


@pytest.mark.paper("PH-10")
@pytest.mark.parametrize(("frames", "heard"), [(6, 9), (3, 2)])
@torch.no_grad()
def test_the_sequence_is_cls_frames_of_video_and_frames_of_speech(frames, heard):
    network, lengths = tiny(), []
    network.transformer.register_forward_pre_hook(lambda module, args: lengths.append(args[0].shape))
    scores = network(*asked(frames, heard))
    assert scores.shape == (B,)
    assert lengths == [(B, 1 + frames + heard, 16)]


@pytest.mark.paper("PH-10")
@torch.no_grad()
def test_picture_speech_reference_and_noise_level_all_count():
    network = tiny()
    noisy, levels, given = asked()
    score = network(noisy, levels, given)
    assert differs(network(noisy.flip(2), levels, given), score), "their order in time"
    assert differs(network(noisy, levels, dataclasses.replace(given, audio=given.audio.flip(1))), score)
    assert differs(network(noisy, levels, dataclasses.replace(given, reference=given.reference + 1)), score)
    assert differs(network(noisy, levels.flip(0), given), score)
    with pytest.raises(ValueError, match="given no speech"):
        network(noisy, levels, dataclasses.replace(given, audio=None))


@pytest.mark.paper("PH-10")
@torch.no_grad()
def test_hidden_states_are_turned_by_their_place_before_they_are_pooled():
    from models.paha.classifier import _turned

    hidden = normal(1, 3, 16, 4, 5)
    at = torch.arange(3)[None]
    turned = _turned(hidden, at)
    torch.testing.assert_close(turned[:, 0, :, 0, 0], hidden[:, 0, :, 0, 0])  # nothing at the first place
    torch.testing.assert_close(turned.norm(dim=2), hidden.norm(dim=2))
    moved = hidden.roll(1, -1)
    assert differs(_turned(moved, at).amax((-2, -1)), turned.amax((-2, -1))), "where something is, counts"
    assert torch.equal(moved.amax((-2, -1)), hidden.amax((-2, -1)))
    later = _turned(hidden[:, 1:], at[:, 1:])
    torch.testing.assert_close(later, turned[:, 1:])
    for dimension in (1, 3, 4):  # along time, rows and columns alike
        same = hidden.narrow(dimension, 0, 1).expand_as(hidden)
        assert differs(_turned(same, at).select(dimension, 1), _turned(same, at).select(dimension, 2))


@pytest.mark.paper("PH-10")
@torch.no_grad()
def test_longer_clips_pass_the_encoder_in_windows_with_their_reference():
    network, calls = tiny(), []
    encode = network.encoder.encode
    network.encoder.encode = lambda *args: calls.append(args[:2]) or encode(*args)
    noisy, levels, given = asked(10)
    network(noisy, levels, given)
    (sample, steps) = calls[0]
    assert len(calls) == 1, "all in one pass, so that sharded ranks take part in as many"
    assert sample.shape[:3] == (3 * B, 4, 5), "three windows of four frames, none longer than the encoder knows"
    for row in range(B):
        for number, first in enumerate((0, 4, 6)):  # the last begins earlier, so that all are of one length
            window = 3 * row + number
            assert torch.equal(sample[window, :, 0], given.reference[row])
            assert torch.equal(sample[window, :, 1:], noisy[row, :, first : first + 4])
            assert steps[window].tolist() == [0] + 4 * [int(levels[row])]


@torch.no_grad()
def test_a_sample_is_judged_alone_as_beside_a_longer_one():
    network = tiny()
    noisy, levels, given = asked(10)
    scores = network(noisy, levels, given, torch.tensor([4, 10]))
    changed = noisy.clone()
    changed[0, :, 4:] = 7.0
    torch.testing.assert_close(network(changed, levels, given, torch.tensor([4, 10])), scores)
    alone = UniVDMInputs(given.reference[:1], given.image[:1], given.audio[:1])
    torch.testing.assert_close(network(noisy[:1, :, :4], levels[:1], alone), scores[:1], rtol=1e-4, atol=1e-5)
    assert differs(network(noisy, levels, given), scores)


@torch.no_grad()
def test_speech_that_does_not_count_changes_nothing():
    network = tiny()
    noisy, levels, given = asked(heard=9)
    counted = torch.tensor([5, 9])
    score = network(noisy, levels, given, audio_frames=counted)
    audio = given.audio.clone()
    audio[0, 5:] = 7.0
    torch.testing.assert_close(network(noisy, levels, dataclasses.replace(given, audio=audio), None, counted), score)
    alone = UniVDMInputs(given.reference[:1], given.image[:1], given.audio[:1, :5])
    torch.testing.assert_close(network(noisy[:1], levels[:1], alone), score[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.paper("PH-10")
@torch.no_grad()
def test_the_encoder_is_that_of_a_trained_univdm():
    torch.manual_seed(5)
    univdm = filled(UniVDM(**UNIVDM), std=0.3).eval()
    network = tiny()
    network.take_encoder(univdm)
    noisy, levels, given = asked(3)
    calls = []
    univdm.denoiser.mid_block.resnets[-1].register_forward_hook(lambda module, args, output: calls.append(output))
    network.encoder.mid_block.resnets[-1].register_forward_hook(lambda module, args, output: calls.append(output))
    univdm(noisy, levels, dataclasses.replace(given, audio=None))
    network(noisy, levels, given)
    torch.testing.assert_close(calls[1], calls[0])


@pytest.mark.paper("PH-15")
def test_its_loss_has_a_gradient_that_makes_the_score_rise():
    network = tiny()
    noisy, levels, given = asked()
    asked_for = noisy.clone().requires_grad_()
    loss = network.loss(asked_for, levels, given)
    (gradient,) = torch.autograd.grad(loss.sum(), asked_for)
    with torch.no_grad():
        better = network(noisy - 0.05 * gradient / gradient.abs().max(), levels, given)
        assert (better > network(noisy, levels, given)).all()
        torch.testing.assert_close(loss, -network(noisy, levels, given).sigmoid().log())


def test_it_is_saved_with_the_options_of_its_univdm(tmp_path):
    network = tiny(region="nonface")
    network.save_pretrained(tmp_path)
    again = PCEClassifier.from_pretrained(tmp_path).eval()
    assert json.loads((tmp_path / "config.json").read_text())["univdm"]["channels"] == [8, 16]
    assert again.region == "nonface"
    with torch.no_grad():
        torch.testing.assert_close(again(*asked()), network(*asked()))
    with pytest.raises(ValueError, match="heads=3"):
        tiny(heads=3)
