"""The motion tokenizer: tokens of clips of any length, alone and in batches, its loss, and how it is saved."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.human.motion import PARTS, SIZE, recover_joints
from models.versa import MotionTokenizer
from models.versa.tokenizer_loss import tokenizer_errors, tokenizer_loss
from tests.motions import make_motion, motion_statistics

SMALL = {"codes": 32, "code_width": 8, "width": 16, "depth": 2}


def motions(count: int = 3, frames: int = 20) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([make_motion(rng, frames) for _ in range(count)]))


def tokenizer(trained: bool = True, **options: int) -> MotionTokenizer:
    """One whose codes are latents of motions, in training mode."""
    torch.manual_seed(0)
    output = MotionTokenizer(**{**SMALL, **options})
    some = motions(8, 40)
    output.set_statistics(motion_statistics(list(some.numpy())))
    if trained:
        with torch.no_grad():
            output(some)
        output.quantizer.update()
    return output


@pytest.mark.paper("VA-3")
def test_the_defaults_are_the_sizes_of_the_specification():
    with torch.device("meta"):
        output = MotionTokenizer()
        tokens = output.encode(torch.empty(2, 64, SIZE))
        motion = output.decode(torch.zeros(2, 16, dtype=torch.long))
    assert output.quantizer.codebook.shape == (512, 512)
    assert output.encoder.first.weight.shape[0] == 512
    assert tokens.shape == (2, 16), "four frames a token"
    assert motion.shape == (2, 64, SIZE)


@pytest.mark.paper("VA-3")
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 11, 64])
def test_any_length_is_a_whole_number_of_tokens_by_repeating_the_last_frame(frames):
    output, motion = tokenizer().eval(), motions(2, frames)
    tokens = output.encode(motion)
    whole = -(-frames // 4)
    assert tokens.shape == (2, whole)
    assert output.decode(tokens).shape == (2, 4 * whole, SIZE)
    longer = torch.cat([motion, motion[:, -1:].expand(-1, 4 * whole - frames, -1)], 1)
    assert torch.equal(output.encode(longer), tokens)
    back = output(motion)
    assert back.motion.shape == motion.shape
    assert torch.equal(back.tokens, tokens)
    assert torch.allclose(output.denormalise(back.motion), output.decode(tokens)[:, :frames], atol=1e-5)


def test_a_clip_in_a_batch_is_what_it_is_alone():
    output, lengths = tokenizer().eval(), torch.tensor([40, 1, 17, 24, 3, 39, 8])
    motion = motions(len(lengths), 40)
    for i, length in enumerate(lengths):
        motion[i, length:] = torch.nan if i % 2 else 1e3  # padding may be anything
    tokens = output.encode(motion, lengths)
    back = output(motion, lengths)
    decoded = output.decode(tokens, lengths)
    assert len(tokens.unique()) > 5
    for i, length in enumerate(lengths.tolist()):
        alone, count = motion[i : i + 1, :length], -(-length // 4)
        assert torch.equal(tokens[i, :count], output.encode(alone)[0])
        expected = output.decode(output.encode(alone))[0]
        assert torch.allclose(decoded[i, :length], expected[:length], atol=1e-4)
        assert torch.equal(decoded[i, length:], torch.zeros(40 - length, SIZE))
        assert torch.allclose(back.motion[i, :length], output(alone).motion[0], atol=1e-4)
        assert back.mask[i].sum() == length
        assert back.token_mask[i].sum() == count


def test_padding_changes_neither_loss_nor_gradients_nor_codes():
    lengths = torch.tensor([9, 14])
    motion, chances = motions(2, 14), torch.rand(2, 4, generator=torch.Generator().manual_seed(0))
    results = []
    for longer in (14, 23):
        output = tokenizer()
        padded = F.pad(motion, (0, 0, 0, longer - 14), value=7.0)
        padded[0, 9:] = float(longer)
        count = -(-longer // 4)
        losses = tokenizer_loss(output, output(padded, lengths, F.pad(chances, (0, count - 4), value=0.99)))
        losses["loss"].backward()
        output.quantizer.update()
        results.append(
            (losses["loss"].item(), [p.grad for p in output.parameters()], output.quantizer.codebook.clone())
        )
    (loss, gradients, codes), (other, others, other_codes) = results
    assert loss == pytest.approx(other, rel=1e-5)
    for one, two in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(codes, other_codes, rtol=1e-4, atol=1e-5)


def test_tokens_of_padding_may_be_any_number():
    output = tokenizer().eval()
    tokens, lengths = output.encode(motions(2, 16)), torch.tensor([16, 6])
    odd = tokens.clone()
    odd[1, 2:] = 10_000
    assert torch.equal(output.decode(odd, lengths), output.decode(tokens, lengths))
    with pytest.raises(ValueError, match=r"0 to 31.*10000"):
        output.decode(odd)


@pytest.mark.paper("VA-4")
def test_the_loss_is_reconstruction_and_beta_times_commitment():
    output, motion = tokenizer(), motions()
    out = output(motion)
    losses = tokenizer_loss(output, out, beta=0.3, position_weight=2.0, velocity_weight=3.0)
    truth, rebuilt = output.normalise(motion), out.motion
    expected = F.smooth_l1_loss(rebuilt, truth)
    assert losses["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-5)
    joints, real = recover_joints(output.denormalise(rebuilt)), recover_joints(motion)
    places = F.smooth_l1_loss(joints * 10, real * 10, beta=0.1).item()
    speeds = F.smooth_l1_loss(joints.diff(dim=1) * 20, real.diff(dim=1) * 20, beta=0.1).item()
    assert losses["positions"].item() == pytest.approx(places, rel=1e-4)
    assert losses["velocities"].item() == pytest.approx(speeds, rel=1e-4)
    total = expected + 0.3 * out.commitment + 2 * places + 3 * speeds
    assert losses["loss"].item() == pytest.approx(total.item(), rel=1e-4)
    encoder = list(output.encoder.parameters())
    grads = torch.autograd.grad(losses["commitment"], encoder, retain_graph=True)
    assert all(g.abs().sum() > 0 for g in grads), "commitment moves the encoder"
    grads = torch.autograd.grad(losses["reconstruction"], encoder, retain_graph=True)
    assert all(g.abs().sum() > 0 for g in grads), "so does the reconstruction, straight through the codes"
    assert not any(torch.autograd.grad(losses["commitment"], list(output.decoder.parameters()), allow_unused=True))


def test_a_clip_of_one_frame_has_a_loss():
    output = tokenizer()
    losses = tokenizer_loss(output, output(motions(2, 1)))
    losses["loss"].backward()
    assert torch.isfinite(losses["loss"])
    assert losses["velocities"] == 0


def test_errors_are_millimetres_and_deviations():
    output = tokenizer().eval()
    out = output(motions())
    high = out.truth.clone()
    high[..., PARTS["root_height"]] += 0.01 / output.motion_std[3]
    errors = tokenizer_errors(output, out._replace(motion=high))
    assert errors["mpjpe"].item() == pytest.approx(10 / 22, rel=1e-3)  # the pelvis alone has its height from there
    assert errors["error_root_height"].item() == pytest.approx(0.01 / output.motion_std[3].item(), rel=1e-3)
    assert errors["error_positions"].item() == 0
    assert {f"error_{name}" for name in PARTS} < errors.keys()


def test_training_lowers_the_loss_and_uses_many_codes():
    output, motion = tokenizer(trained=False, codes=16), motions(6, 24)
    optimizer = torch.optim.Adam(output.parameters(), 3e-3)
    losses = []
    for step in range(60):
        torch.manual_seed(step)
        loss = tokenizer_loss(output, output(motion))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        output.quantizer.update()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[5]
    assert output.quantizer.perplexity > 6


def test_half_precision():
    output, motion = tokenizer(), motions()
    with torch.autocast("cpu", torch.bfloat16):
        losses = tokenizer_loss(output, output(motion))
    losses["loss"].backward()
    assert losses["loss"].dtype == torch.float32
    full = tokenizer_loss(output, output(motion))
    assert losses["loss"].item() == pytest.approx(full["loss"].item(), rel=0.1)
    half = tokenizer().eval().to(torch.bfloat16)
    assert torch.isfinite(half.decode(half.encode(motion))).all()


def test_a_saved_tokenizer_is_the_same_and_its_config_holds_sizes_alone(tmp_path):
    output = tokenizer().eval()
    output.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["codes"] == 32
    assert len(json.dumps(config)) < 300
    repeated = MotionTokenizer.from_pretrained(tmp_path).eval()
    motion = motions()
    assert torch.equal(repeated.encode(motion), output.encode(motion))
    assert torch.equal(repeated.decode(repeated.encode(motion)), output.decode(output.encode(motion)))
    assert "versa.tokenizer" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("shape", "lengths"),
    [((2, 5, 262), None), ((2, 0, SIZE), None), ((5, SIZE), None), ((2, 5, SIZE), [5, 6]), ((2, 5, SIZE), [0, 5])],
)
def test_what_is_no_motion_is_refused(shape, lengths):
    with pytest.raises(ValueError, match=r"got"):
        tokenizer().encode(torch.zeros(shape), None if lengths is None else torch.tensor(lengths))


def test_what_are_no_tokens_is_refused():
    output = tokenizer()
    for tokens in (torch.zeros(2, 3), torch.zeros(2, 0, dtype=torch.long), torch.zeros(3, dtype=torch.long)):
        with pytest.raises(ValueError, match="tokens are whole numbers"):
            output.decode(tokens)
    with pytest.raises(ValueError, match="0 to 31"):
        output.decode(torch.tensor([[-1]]))
    with pytest.raises(ValueError, match="power of two"):
        MotionTokenizer(**SMALL, rate=3)
    with pytest.raises(ValueError, match="body_motion"):
        output.set_statistics({"pose": {}})
