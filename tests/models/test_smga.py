"""SMGA: what goes in, what acts on what, what comes out."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from models.layers.rotary import rotary_freqs
from models.mmgt import SMGA
from models.mmgt.pose_space import face_channels
from models.mmgt.speech import join_speech
from tests.models.small import FACE_CHANNELS, B, T, inputs, statistics, tiny


@pytest.mark.paper("MMGT-3")
def test_reads_804_channels_noisy_beside_the_repeated_first_pose():
    network, given = tiny(), inputs()
    assert all(encoder.in_features == 804 for encoder in network.encoders)
    seen = []
    network.encoders[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    network(**given)
    face = FACE_CHANNELS.float()
    torch.testing.assert_close(seen[0][..., :402], given["noisy"] * face)
    torch.testing.assert_close(seen[0][..., 402:], (given["first_pose"] * face)[:, None].expand(-1, T, -1))


@pytest.mark.paper("MMGT-4")
def test_face_stream_sees_the_face_and_the_body_stream_all_else():
    network, given = tiny(), inputs()
    torch.testing.assert_close(face_channels(), FACE_CHANNELS)
    seen = {}
    for name, encoder in zip(("face", "body"), network.encoders, strict=True):
        encoder.register_forward_pre_hook(lambda module, args, name=name: seen.__setitem__(name, args[0]))
    network(**given)
    for half in (slice(0, 402), slice(402, 804)):
        assert not seen["face"][..., half][..., ~FACE_CHANNELS].any()
        assert not seen["body"][..., half][..., FACE_CHANNELS].any()
    joined = torch.cat([given["noisy"], given["first_pose"][:, None].expand(-1, T, -1)], -1)
    torch.testing.assert_close(seen["face"] + seen["body"], joined)


@pytest.mark.paper("MMGT-5")
def test_three_encoders_for_audio_face_and_body():
    network = tiny()
    face, body = network.encoders
    assert not torch.equal(face.weight, body.weight)
    assert network.audio_encoder.in_features == 35
    assert face.out_features == body.out_features == network.audio_encoder.out_features == 32


@pytest.mark.paper("MMGT-6")
@pytest.mark.parametrize(("layers", "channels"), [(None, 35), (torch.randn(B, 3, 2 * T, 1024), 1059)])
def test_35_features_or_1059_with_wavlm(layers, channels):
    joined = join_speech(torch.randn(B, T, 35), layers)
    assert joined.shape == (B, T, channels)
    network = tiny(audio_channels=channels)
    network.set_statistics(statistics())
    assert network(**{**inputs(), "audio": joined}).shape == (B, T, 402)


def test_wavlm_layers_are_averaged_and_keep_their_time():
    ramp = torch.arange(2 * T).float()[None, None, :, None].expand(B, 2, -1, 4).clone()
    ramp[:, 1] += 2
    joined = join_speech(torch.zeros(B, T, 35), ramp)[..., 35:]
    torch.testing.assert_close(joined[0, :, 0], torch.arange(T) * 2 + 1.5)


@pytest.mark.parametrize("frames", [1, 7, 20, 40, 41, 90])
def test_speech_comes_to_frames_as_torch_interpolates(frames):
    layers = torch.randn(B, 1, 40, 5)
    expected = nn.functional.interpolate(layers[:, 0].mT, frames, mode="linear", align_corners=False).mT
    torch.testing.assert_close(join_speech(torch.zeros(B, frames, 35), layers)[..., 35:], expected)


@pytest.mark.paper("MMGT-7")
def test_every_layer_has_two_blocks_of_self_attention_film_cross_attention_film():
    network, given = tiny(), inputs()
    order = []
    assert all(len(layer) == 2 for layer in network.layers)
    block = network.layers[0][0]
    block.self_attention.register_forward_hook(lambda *_: order.append("self"))
    block.audio_attention.register_forward_hook(lambda *_: order.append("cross"))
    films = []
    network.films.register_forward_hook(lambda module, args, result: films.extend(result))
    network(**given)
    assert order == ["self", "cross"]
    assert len(films) == 2 * 2 * 2 + 1, "two in each block and one behind the merge"
    film = films[0]
    x = torch.randn(B, T, 32)
    torch.testing.assert_close(film(x), film.gain * x + film.shift)
    fresh = SMGA(width=32, layers=2, heads=2, feedforward=48, audio_layers=1, window=T)
    begun = fresh.films(torch.randn(B, 16))[0]
    torch.testing.assert_close(begun(x), x, msg="(1 + scale) x + shift starts as the identity")


@pytest.mark.paper("MMGT-7")
def test_film_is_driven_by_the_step_and_the_pooled_audio():
    network, given = tiny(), inputs()
    conditions = []
    network.films.register_forward_pre_hook(lambda module, args: conditions.append(args[0]))
    network(**given)
    network(**{**given, "timesteps": given["timesteps"] + 50})
    network(**{**given, "audio": given["audio"] + 1})
    # The order of frames changes the attention, but a pooled feature hardly.
    assert (conditions[0] - conditions[1]).abs().max() > 1e-3
    assert (conditions[0] - conditions[2]).abs().max() > 1e-3


@pytest.mark.paper("MMGT-7")
def test_a_block_is_self_attention_film_cross_attention_film_each_with_a_residual():
    network = tiny()
    block = network.layers[0][0]
    freqs, dropout = rotary_freqs(T, 16), network.dropout.draw(torch.empty(0), 0)
    x, audio = torch.randn(B, T, 32), torch.randn(B, T, 32)
    films = network.films(torch.randn(B, 16))[:2]

    def norm(values: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(values, (32,))

    first = x + films[0](block.self_attention(norm(x), freqs))
    second = first + films[1](block.audio_attention(norm(first), freqs, audio))
    expected = second + block.feedforward(norm(second))
    torch.testing.assert_close(block(x, audio, films, freqs, dropout, 0), expected)
    assert block.audio_attention.cross
    assert not block.self_attention.cross


@pytest.mark.paper("MMGT-7")
def test_a_block_of_the_paper_ends_behind_the_second_film():
    network = tiny(block_feedforward=False)
    block = network.layers[0][0]
    freqs, dropout = rotary_freqs(T, 16), network.dropout.draw(torch.empty(0), 0)
    x, audio = torch.randn(B, T, 32), torch.randn(B, T, 32)
    films = network.films(torch.randn(B, 16))[:2]
    first = x + films[0](block.self_attention(nn.functional.layer_norm(x, (32,)), freqs))
    expected = first + films[1](block.audio_attention(nn.functional.layer_norm(first, (32,)), freqs, audio))
    torch.testing.assert_close(block(x, audio, films, freqs, dropout, 0), expected)
    assert not any("layers.0.0.feedforward" in name for name in network.state_dict())
    assert network(**inputs()).shape == (B, T, 402)


def test_a_network_saved_before_there_was_a_choice_loads_with_its_feed_forwards(tmp_path):
    network, given = tiny(), inputs()
    network.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["block_feedforward"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.testing.assert_close(SMGA.from_pretrained(tmp_path)(**given), network(**given), rtol=0, atol=0)


@pytest.mark.paper("MMGT-7")
def test_every_block_attends_to_the_encoded_audio():
    network, heard = tiny(), []
    for layer in network.layers:
        for block in layer:
            block.audio_attention.register_forward_pre_hook(lambda module, args: heard.append(args[2]))
    network.audio_layers[-1].register_forward_hook(lambda module, args, result: heard.append(result))
    network(**inputs())
    assert len(heard) == 1 + 2 * 2
    assert all(torch.equal(memory, heard[0]) for memory in heard)


@pytest.mark.paper("MMGT-8")
def test_merge_is_film_of_an_mlp_of_the_sum_with_a_residual_and_a_linear_head():
    network, given = tiny(), inputs()
    streams, merged, films = [], [], []
    for block in network.layers[-1]:
        block.register_forward_hook(lambda module, args, result: streams.append(result))
    network.films.register_forward_hook(lambda module, args, result: films.extend(result))
    network.head.register_forward_pre_hook(lambda module, args: merged.append(args[0]))
    result = network(**given)
    both = streams[0] + streams[1]
    normal = nn.functional.layer_norm(both, (32,))
    expected = both + films[-1](network.merge(normal))
    torch.testing.assert_close(merged[0], expected)
    torch.testing.assert_close(result, network.head(expected))
    assert isinstance(network.head, nn.Linear)


@pytest.mark.paper("MMGT-8")
def test_paper_sizes_on_the_meta_device(capsys):
    with torch.device("meta"):
        network, paper = SMGA(), SMGA(audio_channels=1059, block_feedforward=False)
    block = network.layers[0][0]
    assert len(network.layers) == 8
    assert block.self_attention.heads == 8
    assert block.self_attention.out.weight.shape == (512, 512)
    assert block.feedforward.inner.out_features == network.merge.inner.out_features == 1024
    assert network.dropout.p == 0.1
    count = sum(parameter.numel() for parameter in network.parameters())
    with capsys.disabled():
        print(f"\nSMGA paper: {sum(p.numel() for p in paper.parameters()) / 1e6:.1f} M parameters")
    assert 60e6 < count < 65e6
    smaller = count - sum(parameter.numel() for parameter in paper.parameters())
    assert smaller == 16 * 2 * 512 * 1024 - 1024 * 512, "a feed-forward a block less, 1,024 features more"


@pytest.mark.paper("MMGT-8")
def test_positions_are_relative():
    """Rotary positions: attention between two frames depends on their distance, not on where they stand."""
    from models.layers.rotary import rotary_freqs, rotate

    freqs = rotary_freqs(9, 8)
    query, key = torch.randn(1, 1, 1, 8).expand(1, 9, 1, 8), torch.randn(1, 1, 1, 8).expand(1, 9, 1, 8)
    scores = (rotate(query, freqs)[0, :, 0] @ rotate(key, freqs)[0, :, 0].T).numpy()
    for distance in range(-8, 9):
        diagonal = np.diagonal(scores, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-4)
    assert np.ptp(scores[0]) > 1e-2
    network, given = tiny(), inputs()
    turned = network(**{**given, "noisy": given["noisy"].flip(1), "audio": given["audio"].flip(1)}).flip(1)
    assert (turned - network(**given)).abs().max() > 1e-3, "without positions the order would not matter"


@pytest.mark.paper("MMGT-9")
def test_dropped_audio_is_the_learned_null():
    network, given = tiny(), inputs()
    drop = torch.tensor([True, False])
    dropped = network(**given, drop_audio=drop)
    other = network(**{**given, "audio": given["audio"] + 3}, drop_audio=drop)
    kept = network(**given)
    torch.testing.assert_close(dropped[0], other[0])
    assert (dropped[1] - other[1]).abs().max() > 1e-3
    assert (dropped[0] - kept[0]).abs().max() > 1e-3
    torch.testing.assert_close(dropped[1], kept[1])
    network.no_audio.data += 1
    assert (network(**given, drop_audio=drop)[0] - dropped[0]).abs().max() > 1e-4


@pytest.mark.paper("MMGT-24")
def test_one_motion_block_reads_the_whole_body():
    network, given = tiny(blocks="one"), inputs()
    assert [len(layer) for layer in network.layers] == [1, 1]
    seen = []
    network.encoders[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    assert network(**given).shape == (B, T, 402)
    torch.testing.assert_close(seen[0][..., :402], given["noisy"])


@pytest.mark.paper("MMGT-24")
def test_without_audio_cross_attention_is_self_attention():
    network, given = tiny(use_audio=False), inputs()
    result = network(**given)
    torch.testing.assert_close(result, network(**{**given, "audio": given["audio"] + 5}))
    assert not network.layers[0][0].audio_attention.cross
    assert tiny().layers[0][0].audio_attention.cross
    assert not any("audio_encoder" in name or "no_audio" in name for name in network.state_dict())


def test_saved_and_loaded_it_gives_the_same_numbers_and_keeps_its_statistics(tmp_path):
    network, given = tiny(predict="offset", sampling_steps=7, guidance=1.5), inputs()
    network.set_statistics(statistics())
    network.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"config.json", "model.safetensors"}
    loaded = SMGA.from_pretrained(tmp_path)
    assert not loaded.training
    torch.testing.assert_close(loaded(**given), network(**given), rtol=0, atol=0)
    torch.testing.assert_close(loaded.audio_mean, network.audio_mean, rtol=0, atol=0)
    assert loaded.audio_mean.abs().min() > 0
    assert (loaded.sampling_steps, loaded.guidance, loaded.poses.predict) == (7, 1.5, "offset")


def test_statistics_normalise_the_audio():
    network, given = tiny(), inputs()
    raw = network(**given)
    numbers = statistics()
    network.set_statistics(numbers)
    mean, std = (torch.tensor(numbers["handcrafted"][key]) for key in ("mean", "std"))
    torch.testing.assert_close(network(**{**given, "audio": given["audio"] * std + mean}), raw, rtol=1e-3, atol=1e-4)


def test_gradient_checkpointing_changes_no_gradient():
    given = inputs()
    gradients = []
    for checkpointing in (False, True):
        network = tiny(dropout=0.3).train()
        if checkpointing:
            network.enable_gradient_checkpointing()
        torch.manual_seed(1)
        network(**given).square().mean().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_compiled_it_gives_the_same_numbers_and_gradients():
    given, results = inputs(), []
    for compiled in (False, True):
        network = tiny()
        if compiled:
            network.compile(backend="aot_eager")
        output = network(**given, drop_audio=torch.tensor([True, False]))
        output.square().mean().backward()
        results.append([output, *(parameter.grad for parameter in network.parameters())])
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(eager, compiled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"blocks": "one"}, {"use_audio": False}, {"block_feedforward": False}])
def test_every_weight_learns(options):
    network = tiny(**options).train()
    network(**inputs(), drop_audio=torch.tensor([True, False])).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("length", [1, 2, 30])
def test_any_length(length):
    given = inputs()
    longer = {name: given[name][:, :1].repeat(1, length, 1) for name in ("noisy", "audio")}
    assert tiny()(**{**given, **longer}).shape == (B, length, 402)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"heads": 3}, "heads"),
        ({"blocks": "three"}, "blocks"),
        ({"predict": "velocity"}, "predict"),
        ({"reference": "last"}, "reference"),
        ({"dropout": 1.5}, "dropout"),
    ],
)
def test_sizes_that_do_not_go_together_are_named(options, word):
    with pytest.raises(ValueError, match=word):
        SMGA(**{"width": 32, "layers": 1, "heads": 2, "feedforward": 8, **options})


@pytest.mark.paper("MMGT-7")
def test_pooled_audio_is_the_mean_over_all_frames():
    network, given, encoded, pooled = tiny(), inputs(), [], []
    network.audio_layers[-1].register_forward_hook(lambda module, args, result: encoded.append(result))
    network.audio_pool.register_forward_pre_hook(lambda module, args: pooled.append(args[0]))
    network(**given)
    torch.testing.assert_close(pooled[0], nn.functional.layer_norm(encoded[0].mean(1), (32,)))
