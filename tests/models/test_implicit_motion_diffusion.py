"""The motion diffusion: what it hears, what it is told, what it predicts, what it is trained on."""

import pytest
import torch

from models.diffusion.noise.ddpm import DDPMNoise
from models.implicit_motion.motion import MotionDiffusion
from models.implicit_motion.motion_loss import motion_diffusion_loss
from models.implicit_motion.motion_space import MotionSpace
from models.layers.mamba import MambaBlock
from tests.models.motion_networks import WINDOW, A, B, C, inputs, small, statistics

AUDIO = pytest.mark.parametrize("audio", ["raw", "handcrafted"])


def noise(network, **changes):
    return network(**{**inputs(network), **changes}).noise


@pytest.mark.paper("IM-12")
@AUDIO
def test_every_part_of_the_condition_acts(audio):
    network, other = small(audio=audio), inputs(small(audio=audio), seed=5)
    whole = noise(network)
    for part in ("speech", "appearance", "before", "source"):
        assert not torch.equal(noise(network, **{part: other[part]}), whole), part
    heard = network(**inputs(network)).heard
    for part in heard._fields:
        changed = heard._replace(**{part: getattr(heard, part) + 1})
        assert not torch.equal(noise(network, speech=changed), whole), part


@pytest.mark.paper("IM-13")
@AUDIO
def test_gradients_reach_both_extractors_and_the_filters(audio):
    network = small(audio=audio).train()
    network(**inputs(network)).noise.square().mean().backward()
    for name, p in network.named_parameters():
        if name.startswith(("whole", "local", "filterbank")):
            assert p.grad is not None, name
            assert p.grad.abs().sum() > 0, name
    for extractor in (network.whole, network.local):
        assert any(isinstance(module, MambaBlock) for module in extractor.modules())


@pytest.mark.paper("IM-13")
@pytest.mark.parametrize("switch", ["use_global", "use_local", "use_appearance"])
@AUDIO
def test_each_part_can_be_switched_off(audio, switch):
    network = small(audio=audio, **{switch: False})
    assert not torch.equal(noise(network), noise(small(audio=audio)))
    heard = network(**inputs(network)).heard
    assert (heard.whole is None) == (switch == "use_global")
    assert (heard.frames is None) == (switch == "use_local")
    appearance = torch.zeros(B, A)
    assert torch.equal(noise(network, appearance=appearance), noise(network)) == (switch == "use_appearance")
    names = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert {"use_global": "whole", "use_local": "local", "use_appearance": "appearance"}[switch] not in names


def test_without_both_extractors_nothing_is_heard():
    network = small(use_global=False, use_local=False)
    assert torch.equal(noise(network), noise(network, speech=torch.zeros(B, WINDOW * 640)))
    noise(network, drop_speech=torch.ones(B, dtype=torch.bool))


@AUDIO
def test_dropped_speech_is_not_heard_and_its_neighbour_in_the_batch_is(audio):
    network, other = small(audio=audio), inputs(small(audio=audio), seed=5)
    drop = torch.tensor([True, False])
    here, there = noise(network, drop_speech=drop), noise(network, speech=other["speech"], drop_speech=drop)
    assert torch.equal(here[0], there[0])
    assert not torch.equal(here[1], there[1])
    assert torch.equal(here[1], noise(network)[1])


@pytest.mark.paper("IM-14")
def test_each_frame_is_told_of_the_four_before_it():
    network, given = small(), inputs(small())
    estimate = torch.randn(B, network.hop, C)
    seen = []
    network.preceding.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    network(**given, estimate=estimate)
    told = seen[0].unflatten(2, (C, 4))  # the last axis: i - 4, i - 3, i - 2, i - 1
    for i in range(network.hop):
        for k in range(4):
            frame = i - 4 + k
            expected = given["before"][:, frame + 4] if frame < 0 else estimate[:, frame]
            assert torch.equal(told[:, i, :, k], expected), (i, k)


@pytest.mark.paper("IM-14")
def test_self_conditioning_tells_of_the_networks_own_x0_where_asked_and_of_zero_elsewhere():
    network, given = small(), inputs(small())
    given["before"] = torch.zeros(B, 4, C)
    seen = []
    network.preceding.register_forward_pre_hook(lambda module, args: seen.append(args[0].unflatten(2, (C, 4))))
    output = network(**given, self_condition=torch.tensor([True, False]))
    assert len(seen) == 2
    assert not seen[0].any(), "the first pass knows of no frame"
    first = network(**given).x0
    assert torch.equal(seen[1][0, 1:, :, 3], first[0, :-1])
    assert not seen[1][0, 0].any()
    assert not seen[1][1].any()
    assert torch.equal(output.noise[1], network(**given).noise[1])
    assert not torch.equal(output.noise[0], network(**given).noise[0])


def test_the_earlier_pass_takes_no_gradient():
    network, given = small().train(), inputs(small())
    passes = []
    network.layers[0].register_forward_hook(lambda module, args, output: passes.append(output.requires_grad))
    network(**given, self_condition=torch.ones(B, dtype=torch.bool))
    assert passes == [False, True]


@pytest.mark.paper("IM-15")
@pytest.mark.parametrize("unseen", [0.05, 1.0])
@pytest.mark.parametrize("steps", [[3, 900], [0, 999]])
def test_noise_and_x0_that_are_predicted_make_up_the_input(unseen, steps):
    """x_t = sqrt(abar) x0 + sqrt(1 - abar) noise, for what is predicted as for what was mixed."""
    network = small(unseen=unseen)
    given = {**inputs(network), "timesteps": torch.tensor(steps)}
    output = network(**given)
    signal, sigma = DDPMNoise("cosine", 1000).scales(given["timesteps"], output.noise)
    torch.testing.assert_close(signal * output.x0 + sigma * output.noise, given["noisy"], rtol=1e-4, atol=1e-4)
    assert torch.isfinite(output.noise).all()


@pytest.mark.paper("IM-15")
def test_what_a_narrow_transformer_does_not_see_is_no_noise_in_the_result():
    """With an output of nothing, the reverse process leaves of the starting noise the share that `unseen` says."""
    from models.implicit_motion.generate import generate

    for unseen in (0.05, 1.0):
        network = small(unseen=unseen, sampling_steps=250, predict="motion")
        torch.nn.init.zeros_(network.head.weight)
        torch.nn.init.zeros_(network.head.bias)
        # One window: where windows meet, what is left of the noise is shared between them.
        output = generate(network, torch.zeros(C), torch.zeros(A), torch.zeros(network.hop * 640))
        assert output.std().item() == pytest.approx(unseen, rel=0.2)


def sequences(seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    names = ("noise_pred", "noise", "x0_pred", "x0")
    return {name: torch.randn(B, 10, C, generator=g) for name in names} | {"before": torch.randn(B, 4, C, generator=g)}


@pytest.mark.paper("IM-15")
@pytest.mark.paper("IM-16")
def test_loss_is_simple_mse_velocity_and_acceleration():
    given = sequences()
    known, none = torch.ones(B, 10, dtype=torch.bool), torch.zeros(B, dtype=torch.bool)
    losses = motion_diffusion_loss(
        **given, known=known, continued=none, lambda_mse=2.0, lambda_velocity=3.0, lambda_acceleration=5.0
    )
    simple = ((given["noise_pred"] - given["noise"]) ** 2).mean()  # Eq. 7
    x, y = given["x0_pred"], given["x0"]
    mse = ((y - x) ** 2).mean()  # Eq. 4
    velocity = (((y[:, 1:] - y[:, :-1]) - (x[:, 1:] - x[:, :-1])) ** 2).mean()  # Eq. 5
    second = [z[:, 2:] - 2 * z[:, 1:-1] + z[:, :-2] for z in (y, x)]
    acceleration = ((second[0] - second[1]) ** 2).mean()  # Eq. 6
    for name, expected in (
        ("loss_simple", simple), ("loss_mse", mse), ("loss_velocity", velocity), ("loss_acceleration", acceleration),
        ("loss", simple + 2 * mse + 3 * velocity + 5 * acceleration),
    ):  # fmt: skip
        torch.testing.assert_close(losses[name], expected)


@pytest.mark.paper("IM-16")
def test_differences_reach_back_to_the_frames_that_a_window_goes_on_from():
    given = sequences()
    given["x0_pred"] = given["x0"] + 1  # a step at the seam, and no other error of movement
    known = torch.ones(B, 10, dtype=torch.bool)
    losses = motion_diffusion_loss(**given, known=known, continued=torch.tensor([True, False]))
    assert losses["loss_velocity"].item() == pytest.approx(0.5 * 1 / 10)
    assert losses["loss_acceleration"].item() == pytest.approx(0.5 * 2 / 10)


@pytest.mark.paper("IM-16")
def test_padding_does_not_count_and_each_sample_counts_the_same():
    given = sequences()
    known = torch.ones(B, 10, dtype=torch.bool)
    known[0, 4:] = False
    none = torch.zeros(B, dtype=torch.bool)
    losses = motion_diffusion_loss(**given, known=known, continued=none)
    cut = {name: value[:1, :4] for name, value in given.items()}
    alone = motion_diffusion_loss(**cut, known=known[:1, :4], continued=none[:1])
    other = motion_diffusion_loss(**{n: v[1:] for n, v in given.items()}, known=known[1:], continued=none[1:])
    for name, loss in losses.items():
        torch.testing.assert_close(loss, (alone[name] + other[name]) / 2)


@pytest.mark.parametrize("predict", ["offset", "motion"])
def test_motion_space_there_and_back(predict):
    space = MotionSpace(C, predict)
    space.set_statistics(statistics())
    motion = torch.randn(B, 5, C)
    x0 = space.encode(motion, motion[:, 2])
    torch.testing.assert_close(space.decode(x0, motion[:, 2]), motion)
    if predict == "offset":
        assert not x0[:, 2].any(), "the source picture is no distance from itself"
        torch.testing.assert_close(x0[:, 0] * torch.tensor(statistics()["implicit_motion"]["std"]),
                                   motion[:, 0] - motion[:, 2])  # fmt: skip


def test_statistics_and_the_base_they_belong_to_travel_with_the_network(tmp_path):
    network = small()
    assert not network.space.known
    assert network.space.base_sha256 == ""
    network.set_statistics(statistics())
    assert network.space.known
    network.save_pretrained(tmp_path)
    repeated = MotionDiffusion.from_pretrained(tmp_path).eval()
    assert repeated.space.base_sha256 == "ab" * 32
    torch.testing.assert_close(repeated.space.offset_std, torch.tensor(statistics()["implicit_motion"]["std"]))
    assert torch.equal(noise(repeated), noise(network))
    assert "implicit_motion.motion" in (tmp_path / "README.md").read_text()


def test_an_index_without_features_leaves_their_statistics_alone():
    network = small()
    network.set_statistics({"handcrafted": statistics()["handcrafted"]})
    assert not network.space.known
    assert network.audio_std[0] == 2


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"heads": 5}, "heads"), ({"audio": "loud"}, "audio"), ({"audio_reach": 5}, "audio_reach"),
        ({"window": 5}, "window"), ({"audio_steps": 3}, "audio_steps"), ({"audio_steps": 1}, "audio_steps"),
        ({"predict": "pose"}, "predict"), ({"unseen": 0.0}, "unseen"), ({"dropout": 1.0}, "dropout"),
        ({"noise_schedule": "sine"}, "sine"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_go_together_are_refused(options, word):
    with pytest.raises(ValueError, match=word):
        small(**options)


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        network = small(dropout=0.1).train()
        if checkpointing:
            network.enable_gradient_checkpointing()
        torch.manual_seed(3)
        network(**inputs(network), self_condition=torch.ones(B, dtype=torch.bool)).noise.square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients)


def test_filters_are_made_where_the_network_is_though_linspace_forgets_the_default_device(monkeypatch):
    linspace = torch.linspace
    monkeypatch.setattr(torch, "linspace", lambda *a, device="cpu", **o: linspace(*a, device=device, **o))
    with torch.device("meta"):
        assert MotionDiffusion(window=16).filterbank.filters.is_meta


def test_runs_where_no_number_is_computed():
    with torch.device("meta"):
        network = MotionDiffusion(window=16).train()
        output = network(
            torch.empty(B, network.hop, 768), torch.empty(B, dtype=torch.long), torch.empty(B, 768),
            torch.empty(B, 512), torch.empty(B, 16 * 640), torch.empty(B, 4, 768),
            self_condition=torch.empty(B, dtype=torch.bool), drop_speech=torch.empty(B, dtype=torch.bool),
        )  # fmt: skip
        (output.noise.mean() + output.x0.mean()).backward()
    assert all(p.grad is not None for p in network.parameters())
