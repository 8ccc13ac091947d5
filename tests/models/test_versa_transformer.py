"""The two transformers: their sum, their conditions, what training hides, and lengths."""

import json

import pytest
import torch
from torch.nn import functional as F

from models.layers import attention
from models.layers.attention import rotary_attention
from models.layers.rotary import rotary_freqs
from models.versa.audio import AudioTokens
from models.versa.masking import hidden_tokens, token_loss
from models.versa.spans import FARTHEST, lay_out
from models.versa.text import PIECES, WordEncoder, clip_text, hash_texts, words_of
from models.versa.transformer import Guidance, MotionTransformer
from tests.models.motion_transformers import CODES, LENGTHS, TEXTS, N, inputs, layout, transformer
from tests.text_models import saved_clip

KINDS = {"text": {}, "both": {"audio_branch": True}, "audio": {"audio_branch": True, "text_branch": False}}


@pytest.mark.parametrize("longest", [256, 0])
def test_attention_leaves_out_padding_both_ways(longest, monkeypatch):
    monkeypatch.setattr(attention, "LONGEST", longest)
    g = torch.Generator().manual_seed(0)
    whole = torch.randn(2, 7, 3, 2, 8, generator=g, requires_grad=True)
    short = whole.detach()[1:, :4].clone().requires_grad_()
    seen = torch.arange(7) < torch.tensor([7, 4])[:, None]
    output = rotary_attention(rotary_freqs(7, 8), whole, mask=seen)
    alone = rotary_attention(rotary_freqs(4, 8), short)
    torch.testing.assert_close(output[1:, :4], alone)
    weight = torch.randn(1, 4, 16, generator=g)
    (output[1:, :4] * weight).sum().backward()
    (alone * weight).sum().backward()
    torch.testing.assert_close(whole.grad[1:, :4], short.grad)
    assert not whole.grad[1:, 4:].any()


@pytest.mark.paper("VA-6")
@pytest.mark.parametrize("fusion", ["layer", "last"])
def test_outputs_of_both_branches_are_summed_layer_by_layer(fusion):
    network = transformer(audio_branch=True, fusion=fusion)
    seen = {"text": [], "audio": []}
    for name in seen:
        for layer in getattr(network, name).layers:
            layer.register_forward_hook(lambda m, args, out, name=name: seen[name].append((args[0], out)))
    logits = network(**inputs(network))
    h_text = [seen["text"][0][0]] + [out for _, out in seen["text"]]
    read = [x for x, _ in seen["audio"]]
    wrote = [out - x for x, out in seen["audio"]]
    h_audio = [read[0] - h_text[0] if fusion == "layer" else read[0]]
    for step in wrote:
        h_audio.append(h_audio[-1] + step)
    for level in range(len(read)):
        expected = h_audio[level] + h_text[level] if fusion == "layer" else h_audio[level]
        torch.testing.assert_close(read[level], expected)
    last = F.layer_norm(h_audio[-1] + h_text[-1], h_text[-1].shape[-1:])
    torch.testing.assert_close(logits, last @ network.audio.head.weight.T + network.audio.head.bias)
    assert len(h_text) == len(h_audio) == 4
    assert h_text[1].std() > 0.1
    assert h_audio[1].std() > 0.1


@pytest.mark.paper("VA-6")
def test_branches_have_the_same_shape_and_defaults_are_the_papers():
    with torch.device("meta"):
        network = MotionTransformer(audio_branch=True)
    shapes = [
        {name: p.shape for name, p in branch.layers.named_parameters()} for branch in (network.text, network.audio)
    ]
    assert shapes[0] == shapes[1]
    assert len(network.text.layers) == len(network.audio.layers) == 8
    assert network.audio.head.weight.shape[0] == network.text.head.weight.shape[0] == 512


@pytest.mark.paper("VA-6")
@pytest.mark.parametrize("kind", KINDS)
def test_each_condition_reaches_the_result(kind):
    network = transformer(**KINDS[kind])
    given = inputs(network)
    before = network(**given)
    changed = {"tokens": given["tokens"].roll(1, 1), "places": given["places"] + 3}
    if kind != "audio":
        changed |= {"text": network.read([TEXTS[0], *TEXTS[:0:-1]]), "which": given["which"].roll(1, 0)}
    if kind != "text":
        changed["audio"] = -given["audio"]
    for name, value in changed.items():
        assert (network(**{**given, name: value}) - before)[0].abs().max() > 1e-2, name


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_in_a_batch_is_what_it_is_alone(kind):
    network = transformer(**KINDS[kind])
    given = inputs(network)
    together = network(**given)
    for row, length in enumerate(LENGTHS):
        alone = {name: value[row : row + 1, :length] for name, value in given.items() if name in ("tokens", "places")}
        if kind != "audio":
            alone |= {"text": given["text"], "which": given["which"][row : row + 1, :length]}
        if kind != "text":
            alone["audio"] = given["audio"][row : row + 1, : 4 * length]
        torch.testing.assert_close(together[row, :length], network(**alone)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.paper("VA-8")
def test_the_audio_branch_begins_as_nothing_beside_a_frozen_text_branch():
    trained, network = transformer(), transformer(audio_branch=True)
    network.take_text_branch(trained)
    network.train()
    given = inputs(network)
    said = trained(**{name: value for name, value in given.items() if name not in ("audio", "heard")})
    torch.testing.assert_close(network(**given), said)
    assert not any(module.training for module in network.text.modules())
    assert network.audio.training
    loss, _ = token_loss(network(**given), given["tokens"].clamp(max=CODES - 1), given["tokens"] == CODES)
    loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in network.text.parameters())
    moved = [name for name, p in network.audio.named_parameters() if p.grad is not None and p.grad.any()]
    assert {"head.weight", "embed.weight", "audio.outer.weight", "layers.2.attention.out.weight"} <= set(moved)


def test_a_text_branch_of_other_sizes_is_refused():
    with pytest.raises(ValueError, match=r"other sizes than this network .*32\)"):
        transformer(audio_branch=True).take_text_branch(transformer(width=16))
    with pytest.raises(ValueError, match="no text branch"):
        transformer(audio_branch=True).take_text_branch(transformer(audio_branch=True, text_branch=False))


@pytest.mark.paper("VA-9")
@pytest.mark.parametrize("kind", KINDS)
def test_guidance_is_the_formula(kind):
    network = transformer(**KINDS[kind])
    given = inputs(network)
    weight = torch.linspace(0, 2, 3 * N).view(3, N)
    without = {name: value for name, value in given.items() if name not in ("audio", "heard")}
    output = network(**given, guidance=Guidance(2.5, weight))
    if kind == "audio":
        nothing = network(**without)
        expected = nothing + weight[..., None] * (network(**given) - nothing)
    else:
        text = network(**without)
        nothing = network(**{**without, "which": torch.full_like(given["which"], -1)})
        expected = nothing + 2.5 * (text - nothing)
        if kind == "both":
            expected = expected + weight[..., None] * (network(**given) - text)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_networks_come_back(kind, tmp_path):
    network = transformer(**KINDS[kind])
    network.save_pretrained(tmp_path)
    repeated = MotionTransformer.from_pretrained(tmp_path).eval()
    assert torch.equal(network(**inputs(network)), repeated(**inputs(repeated)))
    assert json.loads((tmp_path / "config.json").read_text())["audio_branch"] is (kind != "text")


def test_checkpointing_changes_no_gradient():
    gradients = []
    for repeated in (False, True):
        network = transformer(audio_branch=True).train()
        if repeated:
            network.enable_gradient_checkpointing()
        network(**inputs(network)).square().mean().backward()
        gradients.append([p.grad for p in network.parameters()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"fusion": "first"}, "fusion"), ({"text": "bert"}, "text"), ({"heads": 5}, "heads"), ({"window": 1}, "window"),
        ({"text_branch": False}, "audio_branch"), ({"audio_branch": True, "audio": "mel"}, "handcrafted"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_named(options, word):
    with pytest.raises(ValueError, match=word):
        transformer(**options)


def test_speech_without_an_audio_branch_is_refused():
    network = transformer()
    with pytest.raises(ValueError, match=r"versa\.audio_motion"):
        network(**inputs(network), audio=torch.zeros(3, 40, 35))


@pytest.mark.paper("VA-7")
def test_the_share_of_hidden_tokens_is_a_cosine():
    share = torch.linspace(0, 0.999, 41)
    lengths = torch.full((41,), 40)
    lengths[20] = 3
    hidden = hidden_tokens(share, torch.rand(41, 40, generator=torch.Generator().manual_seed(0)), lengths)
    expected = (torch.cos(share * torch.pi / 2) * lengths).ceil().clamp(min=1)
    assert torch.equal(hidden.sum(1), expected.long())
    assert hidden[0].all()
    assert not hidden[20, 3:].any()
    many = hidden_tokens(torch.full((2000,), 0.5), torch.rand(2000, 10), torch.full((2000,), 10)).float().mean(0)
    assert many.min() > 0.75, "any token may be hidden, none more often"
    assert many.max() < 0.85


@pytest.mark.paper("VA-7")
def test_only_hidden_tokens_give_loss_and_gradient():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, CODES, generator=g, requires_grad=True)
    tokens = torch.randint(0, CODES, (2, 6), generator=g)
    hidden = torch.tensor([[1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0]]).bool()
    loss, accuracy = token_loss(logits, tokens, hidden)
    loss.backward()
    said = -logits.detach().log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    assert loss.item() == pytest.approx((said[0][hidden[0]].mean().item() + said[1, 4].item()) / 2, rel=1e-5)
    assert not logits.grad[~hidden].any()
    assert (logits.grad[hidden] != 0).all()
    assert 0 <= accuracy <= 1
    right = F.one_hot(tokens, CODES).float()
    assert token_loss(right, tokens, hidden)[1] == 1


@pytest.mark.paper("VA-5")
@pytest.mark.parametrize(("kind", "channels", "steps"), [("handcrafted", 35, 4), ("layers", 6, 10)])
def test_sound_is_heard_at_its_own_token(kind, channels, steps):
    torch.manual_seed(0)
    change = torch.zeros(3, 12)
    for _ in range(24):
        audio = AudioTokens(kind, channels, 16).eval()
        features = torch.randn(1, 12 * steps, channels)
        before = audio(features, 12)
        assert before.shape == (1, 12, 16)
        for row, token in enumerate((2, 5, 9)):
            other = features.clone()
            other[:, token * steps + 1 : (token + 1) * steps - 1] *= -3
            change[row] += (audio(other, 12) - before).detach().abs().sum(-1)[0]
    for row, token in enumerate((2, 5, 9)):
        assert change[row].argmax() == token
        assert not change[row, : max(0, token - 5)].any(), "convolutions reach but so far"


@pytest.mark.paper("VA-5")
@pytest.mark.parametrize("frames", [1, 3, 4, 17, 20, 23])
def test_features_of_any_length_meet_the_tokens(frames):
    torch.manual_seed(0)
    audio = AudioTokens("handcrafted", 35, 16).eval()
    features = torch.randn(2, frames, 35)
    output = audio(features, 5)
    assert output.shape == (2, 5, 16)
    assert output.isfinite().all()
    longer = torch.cat([features, features[:, -1:].expand(-1, 20, -1)], 1)
    torch.testing.assert_close(audio(longer, 5), output)


@pytest.mark.paper("VA-5")
def test_features_at_another_frame_rate_are_brought_to_the_motions():
    audio = AudioTokens("handcrafted", 35, 16)
    seconds = torch.arange(100)[None, :, None] / 25
    aligned = audio.align(seconds.expand(1, 100, 35), 19, None, 25.0)
    torch.testing.assert_close(aligned[0, :, 0], torch.arange(76) / 20)
    layers = AudioTokens("layers", 6, 16)
    stack = torch.randn(2, 3, 50, 6)
    assert torch.equal(layers.align(stack, 5), stack.mean(1))


def test_features_of_another_shape_are_named():
    with pytest.raises(ValueError, match="35"):
        AudioTokens("handcrafted", 35, 16)(torch.zeros(1, 8, 34), 2)


def test_words_of_any_script_are_read():
    assert words_of("A Person WAVES, twice!") == ["a", "person", "waves", "twice"]
    assert words_of("右手を振る") == list("右手を振る")
    assert words_of("يلوح بيده") == ["يلوح", "بيده"]
    assert words_of("👋") == ["👋"]
    assert words_of("ﬁne Straße") == ["fine", "strasse"]
    for text in ("", "  \n", "\u3000"):
        with pytest.raises(ValueError, match="empty"):
            words_of(text)


def test_words_that_were_never_seen_share_pieces_with_those_like_them():
    waves, waving, bow = (set(row[row > 0].tolist()) for row in hash_texts(["waves", "waving", "bow"], 1 << 20)[:, 0])
    assert len(waves & waving) >= 2
    assert not waves & bow
    numbers = hash_texts(["a " * 500, "supercalifragilisticexpialidocious"], 64)
    assert numbers.shape == (2, 64, PIECES)
    assert 0 <= numbers.min() <= numbers.max() <= 64


def test_a_text_is_what_it_is_alone_and_order_counts():
    torch.manual_seed(0)
    encoder = WordEncoder(256, 16, 1, 2).eval()
    texts = [
        "bow",
        "wave with the left hand and then turn to the right",
        "turn to the right and then wave with the left hand",
    ]
    together = encoder(hash_texts(texts, 256))
    for row, text in enumerate(texts):
        torch.testing.assert_close(together[row], encoder(hash_texts([text], 256))[0])
    assert (together[1] - together[2]).abs().max() > 1e-3


def test_words_left_out_in_training_are_never_all():
    encoder = WordEncoder(64, 16, 1, 2, dropout=0.9).train()
    assert encoder(hash_texts(["bow", "wave twice"] * 50, 64)).isfinite().all()


def test_places_of_spans_and_none_of_speech():
    which, places = layout()
    assert which[1].tolist() == [-1, 2, 2, 2, -1, -1, -1, -1, -1, -1]
    assert places[1, 1:4].tolist() == [[0, 2], [1, 1], [2, 0]]
    assert (places[1, 4:] == FARTHEST).all()
    assert (places[2, :2] == FARTHEST).all(), "speech has no beginning and no end"
    begun = lay_out([[(-3, 20, 1)]], [5]).places[0]
    assert begun.tolist() == [[3 + i, 19 - i] for i in range(5)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    return saved_clip(tmp_path_factory.mktemp("clip"))


@pytest.mark.paper("VA-6")
def test_clip_features_of_a_model_by_path(clip):
    network = transformer(text="clip", clip_model=clip, text_channels=8)
    features = network.read(["wave", "bow low", "wave"])
    assert features.shape == (3, 8)
    assert torch.equal(features[0], features[2])
    assert (features[0] - features[1]).abs().max() > 1e-3
    torch.testing.assert_close(network.read(["wave"])[0], features[0])
    assert network(**inputs(network)).isfinite().all()
    assert not any("clip" in name for name in network.state_dict())
    with pytest.raises(ValueError, match="empty"):
        network.read([" "])
    with pytest.raises(ValueError, match="8 channels"):
        transformer(text="clip", clip_model=clip, text_channels=12).read(["wave"])


def test_a_clip_model_that_is_not_there_is_named_with_what_to_do():
    with pytest.raises(ValueError, match=r"no such folder.*hf download"):
        clip_text("/nowhere/clip")
