"""How VersaAnimator's video network is told of a face: identity, attention to it, each condition for its own frame."""

import dataclasses

import pytest
import torch

from models.versa.video.conditions import FACE
from models.versa.video.face_attention import FaceTransformer, face_attentions
from tests.models.test_versa_video import stock_of
from tests.models.versa_videos import SIZE, B, T, changed, differs, fresh, inputs, noisy, tiny


@pytest.mark.paper("VA-13")
@torch.no_grad()
def test_identity_is_read_whatever_the_length_of_its_embedding_and_no_face_is_the_null():
    network = tiny()
    given, (z, levels) = inputs(network), noisy(tiny())
    output = network(z, levels, given)
    assert differs(network(z, levels, changed(given, "identity")), output)
    longer = dataclasses.replace(given, identity=7 * given.identity)
    torch.testing.assert_close(network(z, levels, longer), output, atol=1e-4, rtol=1e-3)
    partly = given.identity.clone()
    partly[0] = 0
    found = network(z, levels, dataclasses.replace(given, identity=partly))
    null = network(z, levels, dataclasses.replace(given, identity=None))
    torch.testing.assert_close(found[0], null[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1], output[1], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"identity has to be \(B, 12\).*got \(2, 13\)"):
        network(z, levels, dataclasses.replace(given, identity=torch.ones(B, 13)))


@pytest.mark.paper("VA-14")
@torch.no_grad()
def test_a_further_cross_attention_follows_that_of_every_block():
    network = tiny()
    given, (z, levels) = inputs(network), noisy(tiny())
    crossed = [
        module for name, module in network.denoiser.named_modules()
        if name.endswith(".attn2") and ".temporal_transformer_blocks." not in name
    ]  # fmt: skip
    assert len(crossed) == len(face_attentions(network.denoiser)) == 4  # down, middle, twice up
    output = network(z, levels, given)
    for module in crossed:
        at = module.processor
        order: list[str] = []
        hooks = [
            module.to_out[0].register_forward_hook(lambda *_, order=order: order.append("picture")),
            at.attention.to_out[0].register_forward_hook(lambda *_, order=order: order.append("face")),
        ]
        last = at.attention.to_out[0]
        kept = [parameter.clone() for parameter in last.parameters()]
        for parameter in last.parameters():
            parameter.zero_()
        assert differs(network(z, levels, given), output, 1e-6), "every one of them is heard"
        for parameter, before in zip(last.parameters(), kept, strict=True):
            parameter.copy_(before)
        for hook in hooks:
            hook.remove()
        assert order == ["picture", "face"]
    heard: list[torch.Tensor] = []
    crossed[0].processor.norm.register_forward_pre_hook(lambda _, args: heard.append(args[0]))
    network(z, levels, given)
    network(z, levels, dataclasses.replace(given, image=given.image + 1))
    assert differs(heard[0], heard[1]), "its question is what the attention to the picture gave out"


@pytest.mark.paper("VA-14")
@pytest.mark.parametrize("name", FACE)
@torch.no_grad()
def test_each_condition_of_the_face_can_be_set_driven_and_left_out(name):
    network = tiny()
    given, (z, levels) = inputs(network), noisy(tiny())
    output = network(z, levels, given)
    assert differs(network(z, levels, changed(given, name)), output), "set"
    null = network(z, levels, dataclasses.replace(given, **{name: None}))
    partly = network(z, levels, given, {name: torch.tensor([True, False])})
    assert differs(null, output)
    torch.testing.assert_close(partly[0], null[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(partly[1], output[1], atol=1e-5, rtol=1e-4)
    untrained = fresh()
    assert torch.equal(untrained(z, levels, given), untrained(z, levels, changed(given, name)))
    if name in ("expression", "blink"):
        unknown = getattr(given, name).clone()
        unknown[:] = -1
        unheard = network(z, levels, dataclasses.replace(given, **{name: unknown}))
        torch.testing.assert_close(unheard, null, atol=1e-5, rtol=1e-4)


@pytest.mark.paper("VA-14")
@pytest.mark.parametrize("name", ["audio", "expression", "blink"])
@torch.no_grad()
def test_a_frame_sees_its_own_face_alone(name):
    network = tiny()
    for module in network.denoiser.modules():  # without what mixes frames
        if hasattr(module, "mix_factor"):
            torch.nn.init.constant_(module.mix_factor, 50.0)
    given, (z, levels) = inputs(network), noisy(tiny())
    output = network(z, levels, given)
    other = network(z, levels, changed(given, name, frame=1))
    torch.testing.assert_close(other[:, :, [0, 2]], output[:, :, [0, 2]], atol=1e-5, rtol=1e-4)
    assert differs(other[:, :, 1], output[:, :, 1])


@pytest.mark.paper("VA-14")
@torch.no_grad()
def test_the_way_through_a_transformer_is_diffusers_own():
    network = tiny()
    found = [module for module in network.denoiser.modules() if isinstance(module, FaceTransformer)]
    stock = dict(stock_of(network).named_modules())
    names = [name for name, module in network.denoiser.named_modules() if module is found[0]]
    hidden, token = torch.randn(B * T, 32, *SIZE), torch.randn(B * T, 1, 8)
    indicator = torch.zeros(B, T)
    token = token.view(B, T, 1, 8)[:, :1].expand(-1, T, -1, -1).flatten(0, 1)
    expected = stock[names[0]](hidden, token, indicator, return_dict=False)[0]
    torch.testing.assert_close(found[0](hidden, token, indicator)[0], expected, atol=1e-5, rtol=1e-4)
