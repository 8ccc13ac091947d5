"""MM-HAA: speech through the masks of regions."""

import pytest
import torch

from models.video.audio_attention import MaskedAudioAttention
from tests.models.filled import filled

N, C, H, W = 3, 8, 4, 6


@pytest.fixture
def parts():
    torch.manual_seed(0)
    module = filled(MaskedAudioAttention(C, 2, 5), std=0.3)
    return module, torch.randn(N, C, H, W), torch.randn(N, 7, 5), torch.rand(N, 3, H, W)


@pytest.mark.paper("MMGT-17")
@torch.no_grad()
def test_what_is_heard_passes_each_mask_and_its_own_adapter_and_is_added(parts):
    module, hidden, audio, masks = parts
    tokens = module.norm(hidden.flatten(2).transpose(1, 2))
    attention = module.attention
    q, k, v = (
        f(x).unflatten(-1, (2, 4)).transpose(1, 2)
        for f, x in ((attention.to_q, tokens), (attention.to_k, audio), (attention.to_v, audio))
    )
    heard = attention.to_out[0](((q @ k.mT / 2).softmax(-1) @ v).transpose(1, 2).flatten(2))  # Eq. 19
    expected = hidden.clone()
    for region in range(3):
        masked = heard * masks[:, region].flatten(1)[..., None]  # Eq. 20-22
        adapted = masked @ module.adapters[region].weight[:, :, 0, 0].T  # Eq. 23
        expected += adapted.transpose(1, 2).unflatten(-1, (H, W))  # Eq. 24
    torch.testing.assert_close(module(hidden, audio, masks), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.paper("MMGT-17")
@torch.no_grad()
def test_an_untrained_module_is_the_identity(parts):
    _, hidden, audio, masks = parts
    assert torch.equal(MaskedAudioAttention(C, 2, 5)(hidden, audio, masks), hidden)


@torch.no_grad()
def test_a_region_says_nothing_where_its_mask_is_zero(parts):
    module, hidden, audio, masks = parts
    masks[..., :3] = 0
    added = module(hidden, audio, masks) - hidden
    assert not added[..., :3].any()
    assert added[..., 3:].abs().min() > 0


@torch.no_grad()
def test_no_masks_are_ones_and_what_is_not_kept_adds_nothing(parts):
    module, hidden, audio, masks = parts
    whole = module(hidden, audio, torch.ones_like(masks))
    torch.testing.assert_close(module(hidden, audio), whole)
    output = module(hidden, audio, keep=torch.tensor([True, False, True]))
    assert torch.equal(output[1], hidden[1])
    assert torch.equal(output[::2], whole[::2])
