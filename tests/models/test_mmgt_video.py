"""MMGT's second stage: what goes in, what acts on what, and what of it is trained."""

import copy
import dataclasses
import inspect

import pytest
import torch

from models.diffusion.conditions import stacked
from models.mmgt.video import MMGTVideo
from models.video.audio_projection import AudioProjection
from models.video.masks import masks_of
from models.video.slots import places
from tests.models.small import statistics
from tests.models.video_networks import SIZE, B, T, changed, differs, fresh, inputs, noisy, tiny


@pytest.fixture(scope="module")
def network() -> MMGTVideo:
    return tiny()


@pytest.fixture(scope="module")
def given(network):
    return inputs(network)


@pytest.fixture(scope="module")
def full(network, given):
    return predict(network, given)


@torch.no_grad()
def predict(network, given, temporal=True, **left_out):
    return network(*noisy(network), given, {name: torch.tensor(left) for name, left in left_out.items()}, temporal)


@pytest.mark.paper("MMGT-14")
@pytest.mark.parametrize("name", ["skeletons", "audio", "masks"])
def test_what_is_told_of_a_frame_is_told_to_that_frame(network, given, name):
    before = predict(network, given, temporal=False)
    after = predict(network, changed(given, name, frame=1), temporal=False)
    moved = (before - after).abs().amax((0, 1, 3, 4)) > 1e-4
    assert moved.tolist() == [False, True, False]


@pytest.mark.paper("MMGT-14")
def test_twelve_frames_of_512_pixels():
    defaults = {name: p.default for name, p in inspect.signature(MMGTVideo).parameters.items()}
    assert (defaults["window"], defaults["downscaling"]) == (12, 8)
    with torch.device("meta"):
        network = MMGTVideo()
        assert network.pose_guider(torch.empty(1, 3, 512, 512)).shape == (1, 320, 64, 64)
    assert network.sizes(64, 64) == [(64, 64), (32, 32), (16, 16), (8, 8)]


@pytest.mark.paper("MMGT-15")
def test_each_level_is_told_its_own_masks():
    network = tiny(channels=(8, 16, 16))
    given = inputs(network, (11, 6))
    conditions = network.encode(given)
    assert {name: mask.shape for name, mask in conditions.masks.items()} == {
        "11x6": (B, T, 3, 11, 6), "6x3": (B, T, 3, 6, 3), "3x2": (B, T, 3, 3, 2),
    }  # fmt: skip
    z = noisy(network, (11, 6))
    before = network(*z, conditions)
    for name, mask in conditions.masks.items():
        for region in range(3):
            other = mask.clone()
            other[:, :, region] = 1 - other[:, :, region]
            after = network(*z, dataclasses.replace(conditions, masks={**conditions.masks, name: other}))
            assert differs(before, after), f"region {region} of {name} is not used"


@pytest.mark.paper("MMGT-16")
@torch.no_grad()
def test_spatial_attention_reads_the_reference_at_every_place(network, given, full):
    conditions = network.encode(given)
    assert set(conditions.reference) == set(places(network.denoiser))
    for place, states in conditions.reference.items():
        after = network(
            *noisy(network), dataclasses.replace(conditions, reference={**conditions.reference, place: -states})
        )
        assert differs(full, after), f"{place} is not read"


@pytest.mark.paper("MMGT-16")
@torch.no_grad()
def test_keys_and_values_of_the_reference_stand_beside_the_frames_own(network):
    attn = network.denoiser.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn1")
    own, reference = torch.randn(B * T, 6, 16), torch.randn(B, 4, 16)
    output = attn(own, read={attn.processor.place: reference})
    for row in range(B * T):
        seen = torch.cat([own[row], reference[row // T]])
        q, k, v = (
            f(x).unflatten(-1, (2, 8)).transpose(0, 1)
            for f, x in ((attn.to_q, own[row]), (attn.to_k, seen), (attn.to_v, seen))
        )
        expected = attn.to_out[0](((q @ k.mT / 8**0.5).softmax(-1) @ v).transpose(0, 1).flatten(1))
        torch.testing.assert_close(output[row], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.paper("MMGT-16")
def test_the_pictures_embedding_is_cross_attended(network, given, full):
    assert differs(full, predict(network, changed(given, "image")))
    tokens = network.encode(given).image
    assert tokens.shape == (B, 1, 8)


def test_without_an_image_encoder_one_learned_token_takes_its_place():
    network = tiny(image_channels=0)
    before = predict(network, inputs(network))
    with torch.no_grad():
        network.image_token.mul_(-1)
    assert differs(before, predict(network, inputs(network)))
    assert network.image_token in set(network.spatial_parameters())


@pytest.mark.paper("MMGT-16")
@pytest.mark.parametrize("told", [True, False])
def test_the_reference_network_sees_its_own_pose_where_it_is_told(told):
    network = tiny(reference_pose=told)
    given = inputs(network)
    banks = [network.encode(each).reference for each in (given, changed(given, "reference_skeleton"))]
    assert all(differs(banks[0][place], banks[1][place]) == told for place in banks[0])
    assert predict(network, given).isfinite().all()


@pytest.mark.paper("MMGT-16")
def test_the_reference_network_begins_as_a_copy_of_the_denoisers_spatial_parts():
    network = fresh()
    there = network.denoiser.state_dict()
    shared = {name: tensor for name, tensor in network.reference_unet.state_dict().items() if name in there}
    assert any("attn1" in name for name in shared)
    assert any("resnets" in name for name in shared)
    for name, tensor in shared.items():
        torch.testing.assert_close(tensor, there[name], atol=0, rtol=0, msg=name)


@pytest.mark.paper("MMGT-16")
@torch.no_grad()
def test_pose_features_are_added_after_the_first_convolution(network, given):
    """A constant added there is a constant in that convolution's bias."""
    conditions = network.encode(given)
    constant = torch.randn(8)
    pose = constant[:, None, None].expand(B, T, -1, *SIZE)
    told = network(*noisy(network), dataclasses.replace(conditions, pose=pose))
    other = copy.deepcopy(network)
    other.denoiser.conv_in.bias += constant
    biased = other(*noisy(network), dataclasses.replace(conditions, pose=None))
    torch.testing.assert_close(told, biased)
    assert differs(told, network(*noisy(network), dataclasses.replace(conditions, pose=None)))


@pytest.mark.paper("MMGT-18")
def test_a_frames_speech_is_all_layers_of_five_frames_as_32_tokens_of_768():
    with torch.device("meta"):
        projection = MMGTVideo().audio_projection
        assert projection(torch.empty(1, 2, 5, 12, 768)).shape == (1, 2, 32, 768)
    torch.manual_seed(0)
    small = AudioProjection(layers=3, channels=4, context=2, tokens=6, output=8, width=16)
    audio = torch.randn(1, 2, 5, 3, 4)
    before = small(audio)
    for place in range(5):
        for layer in range(3):
            other = audio.clone()
            other[:, 0, place, layer] += 1
            after = small(other)
            assert differs(before[:, 0], after[:, 0]), f"frame {place - 2}, layer {layer} is not heard"
            assert torch.equal(before[:, 1], after[:, 1])
    with pytest.raises(ValueError, match=r"audio has to be \(B, T, 5, 3, 4\)"):
        small(audio[:, :, :4])


def test_handcrafted_speech_is_normalised_by_the_statistics_of_the_data():
    network = fresh(audio_layers=1, audio_channels=35)
    moments = statistics()["handcrafted"]
    mean, std = torch.tensor(moments["mean"]), torch.tensor(moments["std"])
    normal = torch.randn(B, T, 5, 1, 35)
    before = network.audio_projection(normal)
    network.set_statistics(statistics())
    torch.testing.assert_close(network.audio_projection(normal * std + mean), before, atol=1e-4, rtol=1e-4)


@pytest.mark.paper("MMGT-19")
def test_each_block_goes_from_the_picture_to_speech_to_the_other_frames(network, given):
    seen: list[tuple[str, str]] = []
    for name, module in network.denoiser.named_modules():
        kind = next(
            (k for k in ("resnets", "attentions", "audio_modules", "motion_modules") if name.split(".")[-2:-1] == [k]),
            None,
        )
        if kind:
            block = ".".join(name.split(".")[:-2]) + "/" + name.split(".")[-1]
            module.register_forward_hook(lambda *_, block=block, kind=kind: seen.append((block, kind)))
    predict(network, given)
    crossed = {block for block, kind in seen if kind == "attentions"}
    assert len(crossed) == 4
    for block in crossed:
        order = [kind for each, kind in seen if each == block and kind != "resnets"]
        assert order == ["attentions", "audio_modules", "motion_modules"], block
    assert next(kind for block, kind in seen if block == "down_blocks.0/0") == "resnets"


NULLS = {"reference": None, "pose": {"skeletons": None}, "audio": {"audio": None}}


@pytest.mark.parametrize("name", ["pose", "audio"])
def test_what_is_left_out_is_the_null_sample_by_sample(network, given, full, name):
    """MMGT-22 (driven by poses, by speech, by both) and classifier-free training mean the same by leaving out."""
    null = predict(network, dataclasses.replace(given, **NULLS[name]))
    assert differs(full[0], null[0])
    for left in ([True, False], [False, True], [True, True], [False, False]):
        output = predict(network, given, **{name: left})
        for row in range(B):
            torch.testing.assert_close(output[row], (null if left[row] else full)[row], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_reference_that_is_left_out_leaves_plain_self_attention(network, given, full):
    conditions = network.encode(given)
    null = dataclasses.replace(conditions, reference=None, image=torch.zeros_like(conditions.image))
    plain = network(*noisy(network), null)
    assert differs(full, plain)
    for left in ([True, False], [False, True]):
        output = predict(network, given, reference=left)
        for row in range(B):
            torch.testing.assert_close(output[row], (plain if left[row] else full)[row], atol=1e-5, rtol=1e-4)


@pytest.mark.paper("MMGT-22")
def test_poses_speech_or_both_drive(network, given, full):
    by_speech = predict(network, dataclasses.replace(given, skeletons=None))
    by_pose = predict(network, dataclasses.replace(given, audio=None))
    assert differs(by_speech, by_pose)
    assert differs(by_speech, full)
    assert differs(by_pose, full)
    assert differs(by_speech, predict(network, changed(dataclasses.replace(given, skeletons=None), "audio")))
    assert differs(by_pose, predict(network, changed(dataclasses.replace(given, audio=None), "skeletons")))


def test_an_unknown_condition_is_told():
    network = fresh()
    with pytest.raises(ValueError, match="no condition is called 'sound'; there are reference, pose, audio"):
        predict(network, inputs(network), sound=[True, False])


@torch.no_grad()
def test_stacked_conditions_are_those_one_by_one(network, given):
    conditions = network.encode(given)
    z, levels = noisy(network)
    left = {"audio": torch.tensor([False, False, True, True]), "reference": torch.tensor([False, True, False, True])}
    both = network(stacked(z, 2), levels.repeat(2), stacked(conditions, 2), left)
    for row in range(2 * B):
        one = dataclasses.replace(
            given, **{f.name: getattr(given, f.name)[row % B, None] for f in dataclasses.fields(given)}
        )
        output = network(
            z[row % B, None], levels[row % B, None], one, {name: value[row, None] for name, value in left.items()}
        )
        torch.testing.assert_close(both[row], output[0], atol=1e-5, rtol=1e-4)


@pytest.mark.paper("MMGT-24")
@pytest.mark.parametrize("kind", ["motion", "still", "none"])
def test_masks_of_every_frame_of_the_references_or_none(kind):
    network = tiny(masks=kind)
    given = inputs(network)
    given = dataclasses.replace(given, masks=masks_of(network.masks, given.masks))

    def with_masks(frame):
        other = changed(inputs(network), "masks", frame=frame)
        return predict(network, dataclasses.replace(other, masks=masks_of(network.masks, other.masks)))

    before = predict(network, given)
    assert differs(before, with_masks(0)) == (kind != "none")
    assert differs(before, with_masks(1)) == (kind == "motion")
    ones = dataclasses.replace(given, masks=torch.ones_like(given.masks))
    assert differs(before, predict(network, ones)) == (kind != "none")
    if kind == "none":
        torch.testing.assert_close(before, predict(network, dataclasses.replace(given, masks=None)))


@pytest.mark.paper("MMGT-24")
def test_without_audio_the_cross_attention_attends_to_the_frames_themselves():
    network = tiny(use_audio=False)
    given = inputs(network)
    assert not hasattr(network, "audio_projection")
    module = network.denoiser.mid_block.audio_modules[0]
    assert module.attention.to_k.in_features == module.attention.to_q.in_features == 16
    before = predict(network, given)
    with torch.no_grad():
        module.attention.to_k.weight.mul_(-1)
    assert differs(before, predict(network, given)), "the module is passed over"
    heard = predict(network, dataclasses.replace(given, audio=torch.randn(B, T, 5, 2, 5)))
    assert torch.equal(heard, predict(network, given))


def test_saved_and_found_again(tmp_path, network, given, full):
    network.save_pretrained(tmp_path)
    again = MMGTVideo.from_pretrained(tmp_path)
    assert torch.equal(predict(again, given), full)
    assert again.guidance == network.guidance
