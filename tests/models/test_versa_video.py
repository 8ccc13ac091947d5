"""VersaAnimator's video network: SVD's UNet, poses, a face, and what of it is left out."""

import dataclasses
import math

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from torch import nn

from models.diffusion.noise.augmentation import augmented, draw_strength
from models.diffusion.samplers.ddim import DDIM
from models.versa.video.conditions import NAMES, VersaInputs
from models.versa.video.face_attention import face_attentions
from models.versa.video.network import VersaVideo
from tests.models.versa_videos import SIZE, SMALL, B, T, differs, fresh, inputs, noisy, tiny
from trainers.stage.base import SampleGenerator


class Spy:
    """Remembers what the UNet was asked."""

    def __init__(self, network: VersaVideo):
        self.calls: list[tuple] = []
        network.denoiser.register_forward_pre_hook(lambda module, args: self.calls.append(args))


def stock_of(network: VersaVideo) -> UNetSpatioTemporalConditionModel:
    """diffusers' own with the same weights, as far as it has them."""
    stock = UNetSpatioTemporalConditionModel(**network.denoiser.config)
    own = network.denoiser.state_dict()
    stock.load_state_dict({name: own[name] for name in stock.state_dict()})
    assert own.keys() - stock.state_dict().keys() == {name for name in own if ".processor." in name}
    return stock.eval()


@pytest.mark.paper("VA-11")
@pytest.mark.parametrize("size", [(5, 3), (8, 8)])
@pytest.mark.parametrize("face", [True, False])
@torch.no_grad()
def test_without_poses_and_a_face_it_is_what_svds_unet_says(size, face):
    network = fresh(face_attention=face)
    stock, given = stock_of(network), inputs(network, size)
    z, levels = noisy(network, size)
    output = network(z, levels, dataclasses.replace(given, skeletons=None))
    # As diffusers' pipeline puts it: frames in front, the picture's own latents behind, numbers of time and noise.
    sample = z / (levels.square() + 1).sqrt()[:, None, None, None, None]
    picture = (given.reference / 0.5)[:, :, None].expand_as(sample)
    times = torch.stack([torch.full((B,), 29.0), torch.full((B,), 127.0), given.augmentation], 1)
    image = network.image_projection(given.image)
    expected = stock(
        torch.cat([sample, picture], 1).transpose(1, 2), levels.log() / 4, image, times, return_dict=False
    )[0]  # fmt: skip
    torch.testing.assert_close(output, expected.transpose(1, 2), atol=1e-5, rtol=1e-4)


@pytest.mark.paper("VA-11")
@torch.no_grad()
def test_each_number_that_svd_is_told_of_time_changes_the_frames():
    network, (z, levels) = tiny(), noisy(tiny())
    given = inputs(network)
    output = network(z, levels, given)
    for other in ({"motion": torch.tensor([20.0, 200.0])}, {"augmentation": given.augmentation + 0.5}):
        assert differs(network(z, levels, dataclasses.replace(given, **other)), output), other
    assert differs(tiny(fps=12.0)(z, levels, given), output)
    spy = Spy(network)
    network(z, levels, dataclasses.replace(given, motion=torch.tensor([20.0, 200.0])))
    assert spy.calls[0][2].tolist() == [[29.0, 20.0, given.augmentation[0]], [29.0, 200.0, given.augmentation[1]]]
    torch.testing.assert_close(spy.calls[0][1], torch.tensor([math.log(3.0), math.log(0.4)]) / 4)


@pytest.mark.paper("VA-11")
def test_noise_levels_and_steps_are_svds():
    network = fresh()
    random = SampleGenerator([str(number) for number in range(4000)])
    sigma = network.noise.draw(random).log()
    assert sigma.mean().item() == pytest.approx(0.7, abs=0.15)
    assert sigma.std().item() == pytest.approx(1.6, abs=0.15)
    strength = draw_strength(random).log()
    assert strength.mean().item() == pytest.approx(-3.0, abs=0.05)
    assert strength.std().item() == pytest.approx(0.5, abs=0.05)
    theirs = EulerDiscreteScheduler(
        prediction_type="v_prediction", timestep_type="continuous", sigma_min=0.002, sigma_max=700.0,
        use_karras_sigmas=True, timestep_spacing="leading", steps_offset=1, final_sigmas_type="zero",
        interpolation_type="linear", beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
    )  # fmt: skip
    theirs.set_timesteps(6)

    def output(x):
        return 0.3 * x.sin() + 0.1

    def denoise(x, levels):
        scales = network.noise.scales(levels, x)
        return network.preconditioning.x0(output(network.preconditioning.inputs(x, scales)), x, scales)

    sampler = DDIM(denoise, network.noise, 6)
    torch.testing.assert_close(sampler.levels, theirs.sigmas[:-1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sampler.levels.log() / 4, theirs.timesteps, rtol=1e-4, atol=1e-4)
    start = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    x = network.noise.start(start)
    for step in theirs.timesteps:
        x = theirs.step(output(theirs.scale_model_input(x, step)), step, x).prev_sample
    torch.testing.assert_close(sampler.run(start), x, rtol=1e-3, atol=1e-3)


@pytest.mark.paper("VA-11")
@torch.no_grad()
def test_large_noise_is_told_in_full_precision():
    """In half precision 700 and its neighbours are one, and log sigma of small ones is coarse."""
    network = fresh().bfloat16()
    spy = Spy(network)
    given = inputs(network)
    half = {
        field.name: value.bfloat16()
        for field in dataclasses.fields(given)
        if (value := getattr(given, field.name)) is not None and value.is_floating_point()
    }
    levels = torch.tensor([699.0, 0.0021])
    z = levels[:, None, None, None, None] * noisy(network)[0]
    network(z, levels, dataclasses.replace(given, **half))
    torch.testing.assert_close(spy.calls[0][1], levels.log() / 4, rtol=0, atol=1e-6)
    assert spy.calls[0][0].abs().max() < 10, "what the network is given has a usual size at every level"


def test_noise_on_the_reference_is_as_strong_as_it_says():
    noise = torch.randn(2, 4, 50, 50, generator=torch.Generator().manual_seed(0))
    there = torch.ones(2, 4, 50, 50)
    added = augmented(there, torch.tensor([0.0, 0.3]), noise) - there
    assert not added[0].any()
    assert added[1].std().item() == pytest.approx(0.3, rel=0.05)


@pytest.mark.paper("VA-12")
@torch.no_grad()
def test_poses_are_added_to_what_the_first_convolution_gives_out():
    network = tiny()
    given, (z, levels) = inputs(network), noisy(tiny())
    seen: list[torch.Tensor] = []
    hook = network.denoiser.down_blocks[0].resnets[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    output = network(z, levels, given)
    without = network(z, levels, dataclasses.replace(given, skeletons=None))
    hook.remove()
    features = network.pose_guider(given.skeletons.flatten(0, 1))
    assert differs(output, without)
    torch.testing.assert_close(seen[0] - seen[1], features, atol=1e-5, rtol=1e-4)
    assert features.abs().mean() > 1e-3
    untrained = fresh()
    assert torch.equal(untrained(z, levels, given), untrained(z, levels, dataclasses.replace(given, skeletons=None)))


@torch.no_grad()
def test_a_reference_that_is_left_out_is_neither_seen_nor_told_of():
    network = tiny()
    given, (z, levels) = inputs(network), noisy(tiny())
    output = network(z, levels, given)
    spy, left = Spy(network), {"reference": torch.tensor([True, False])}
    partly = network(z, levels, given, left)
    sample, _, _, image, *_ = spy.calls[0]
    assert not sample[0, :, 4:].any()
    assert not image[0].any()
    assert sample[1, :, 4:].any()
    torch.testing.assert_close(partly[1], output[1], atol=1e-5, rtol=1e-4)
    other = dataclasses.replace(given, reference=given.reference + 1, image=given.image + 1)
    torch.testing.assert_close(network(z, levels, other, left)[0], partly[0], atol=1e-5, rtol=1e-4)
    poses = network(z, levels, given, {"pose": torch.tensor([True, True])})
    without = network(z, levels, dataclasses.replace(given, skeletons=None))
    torch.testing.assert_close(poses, without, atol=1e-5, rtol=1e-4)


def test_a_step_trains_all_of_it_and_checkpointing_changes_no_gradient():
    network, given = tiny(), inputs(tiny())
    gradients = []
    for recompute in (False, True):
        one = tiny().train()
        if recompute:
            one.enable_gradient_checkpointing()
        left_out = {name: torch.tensor([True, False]) for name in NAMES}
        one(*noisy(network), given, left_out).square().mean().backward()
        gradients.append({name: p.grad for name, p in one.named_parameters() if p.grad is not None})
    assert set(gradients[0]) == {name for name, _ in network.named_parameters()}, "all are trained"
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-3)


def test_checkpointing_keeps_at_most_15_percent_of_the_activations():
    network = fresh().train()
    z, given = noisy(network, (8, 8), frames=4), inputs(network, (8, 8), frames=4)
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}

    def saved() -> int:
        kept: dict[int, int] = {}

        def keep(value):
            storage = value.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            network(*z, given)
        return sum(kept.values())

    all_of_it = saved()
    network.enable_gradient_checkpointing()
    assert saved() <= 0.15 * all_of_it


def test_it_learns_a_clip():
    """A few steps in which the noise of one clip is taken off; face and poses learn with the rest."""
    network, given = fresh().train(), inputs(fresh())
    (noise, levels), x0 = noisy(network), noisy(network, seed=5)[0]
    target = network.preconditioning.target(x0, noise, network.noise.scales(levels, x0))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    losses = []
    for _ in range(8):
        loss = (network(network.noise.add(x0, noise, levels), levels, given) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # 0.35 of it is left; on one batch, with nothing drawn anew, processors differ by rounding alone.
    assert losses[-1] < 0.8 * losses[0]
    for name in ("pose_guider.last.weight", "face_tokens.blink.2.weight", "denoiser.conv_in.weight"):
        assert differs(network.get_parameter(name), before[name]), name


def test_what_is_saved_is_read_again(tmp_path):
    network = tiny(guidance_audio=2.0, head=0.1)
    network.use_autoencoder("ab" * 32, 0.25)
    network.save_pretrained(tmp_path)
    again = VersaVideo.from_pretrained(tmp_path).eval()
    assert (again.autoencoder, again.latent_scale, again.head) == ("ab" * 32, 0.25, 0.1)
    assert (again.guidance, again.expressions) == (network.guidance, SMALL["expressions"])
    given, (z, levels) = inputs(network), noisy(network)
    with torch.no_grad():
        assert torch.equal(again(z, levels, given), network(z, levels, given))


def test_without_an_image_encoder_there_is_a_learned_token_and_with_one_its_own_goes_in():
    network = tiny(image_channels=0)
    with torch.no_grad():
        assert network(*noisy(network), inputs(network)).isfinite().all()
    assert network.image_token.shape == (1, 8)
    same, token = fresh(image_channels=8), torch.randn(B, 1, 8)
    assert torch.equal(same.image_tokens(VersaInputs(torch.zeros(B, 4, *SIZE), token)), token), "as SVD was trained"


@pytest.mark.paper("VA-16")
@pytest.mark.parametrize("size", [(1, 1), (9, 4), (3, 12)])
@torch.no_grad()
def test_latents_of_any_size_come_back_in_it(size):
    network = tiny()
    assert network(*noisy(network, size), inputs(network, size)).shape == (B, 4, T, *size)


def test_published_sizes():
    with torch.device("meta"):
        network = VersaVideo()

    def count(parameters) -> int:
        return sum(p.numel() for p in parameters)

    assert {p.device.type for p in network.parameters()} == {"meta"}
    face = count(p for each in face_attentions(network.denoiser) for p in each.parameters())
    assert count(network.denoiser.parameters()) - face == 1_524_623_082  # of SVD
    blocks = [320] * 5 + [640] * 5 + [1280] * 6
    assert face == sum(2 * c + 2 * c * c + 2 * 1024 * c + c for c in blocks)
    assert count(network.face_parameters()) > face
    assert count(network.pose_guider.parameters()) < 5_000_000
    assert network.window == 16


@torch.no_grad()
def test_norms_of_fewer_groups_tell_apart_what_channels_say_of_a_whole_frame(tmp_path):
    narrow, grouped = tiny(), tiny(norm_groups=8)
    grouped.load_state_dict(narrow.state_dict())
    for network, groups in ((narrow, 32), (grouped, 8)):
        norms = [module for module in network.denoiser.modules() if isinstance(module, nn.GroupNorm)]
        assert {norm.num_groups for norm in norms} == {groups}
        frame, brighter = torch.randn(1, 32, 4, 4), torch.zeros(1, 32, 1, 1)
        brighter[:, ::4] = 1
        first = network.denoiser.down_blocks[0].resnets[0].spatial_res_block.norm1
        changed = (first(frame + brighter) - first(frame)).abs().max()
        assert changed > 0.1 if groups == 8 else changed < 1e-4
    given, (z, levels) = inputs(narrow), noisy(narrow)
    grouped.save_pretrained(tmp_path)
    found = [network(z, levels, given) for network in (narrow, grouped)]
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert torch.equal(VersaVideo.from_pretrained(tmp_path).eval()(z, levels, given), found[1])


def test_what_makes_no_sense_is_refused():
    network = tiny()
    z, levels = noisy(network)
    given = inputs(network)
    for call, said in (
        (lambda: network(z, levels, given, {"text": torch.ones(B).bool()}), "no condition is called 'text'"),
        (lambda: network(z, levels, inputs(network, (6, 3))), "the reference has 6 x 3 latents, the frames 5 x 3"),
        (lambda: network(z, levels, inputs(network, frames=2)), "pose is of 2 frames, but 3 are to be made"),
        (lambda: network(z, levels, dataclasses.replace(given, image=torch.ones(B, 2, 6))), "one token of the picture"),
        (
            lambda: network(z, levels, dataclasses.replace(given, skeletons=given.skeletons[..., :4])),
            "poses were drawn",
        ),
        (lambda: network(z, levels, dataclasses.replace(given, audio=given.audio[..., 0])), r"audio has to be \(B, T"),
        (lambda: network.expression("bored"), "no expression is called 'bored'; the network knows neutral, happy, sad"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    assert network.expression("sad") == 2
    for options, said in (
        ({"channels": (32, 48)}, "channels has 48, but group norms of SVD's UNet have 32 groups"),
        ({"norm_groups": 24}, "norm_groups=24 does not divide channels=32"),
        ({"head_channels": 24}, "head_channels=24 has to divide every one of channels"),
        ({"pose_channels": (4, 8)}, "pose_channels has 2 widths"),
        ({"expressions": ("happy", "happy")}, "each once"),
        ({"motion_bucket": 300.0}, "from 0 to 255"),
        ({"sigma_min": 800.0}, "below sigma_max"),
    ):
        with pytest.raises(ValueError, match=said):
            fresh(**options)
