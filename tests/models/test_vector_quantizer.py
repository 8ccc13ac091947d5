"""The vector quantiser: nearest codes, their gradient, the codebook's averages, resets, masks, several processes."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.layers.vector_quantizer import VectorQuantizer
from tests.models.quantizer_ranks import train

ROOT = Path(__file__).resolve().parents[2]
CODES, WIDTH = 7, 4


def quantizer(codes: int = CODES, **options: float) -> VectorQuantizer:
    """One whose codes have been used alike."""
    torch.manual_seed(0)
    output = VectorQuantizer(codes, WIDTH, **options)
    output.sizes.fill_(2.0)
    output.sums.copy_(2.0 * output.codebook)
    return output


def latents(batch: int = 3, length: int = 5, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, length, WIDTH, generator=torch.Generator().manual_seed(seed))


def state(made: VectorQuantizer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in made.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.paper("VA-3")
def test_the_nearest_code_is_taken():
    output, x = quantizer(), latents()
    found = output(x)
    gaps = np.square(x.numpy()[:, :, None] - output.codebook.numpy()).sum(-1)
    assert np.array_equal(found.tokens.numpy(), gaps.argmin(-1))
    assert len(found.tokens.unique()) > 2
    assert torch.allclose(found.vectors, output.codebook[found.tokens], atol=1e-6)
    assert torch.equal(output.nearest(x), found.tokens)


@pytest.mark.paper("VA-3")
def test_gradients_go_straight_through_and_none_reaches_the_codebook():
    output, x, weight = quantizer(), latents().requires_grad_(), latents(seed=2)
    (output(x).vectors * weight).sum().backward()
    assert torch.allclose(x.grad, weight)
    assert not list(output.parameters())


@pytest.mark.paper("VA-4")
def test_commitment_draws_latents_to_their_codes():
    output, x = quantizer(), latents().requires_grad_()
    found = output(x)
    gap = x - output.codebook[found.tokens]
    assert found.commitment.item() == pytest.approx(gap.square().mean().item())
    found.commitment.backward()
    assert torch.allclose(x.grad, 2 * gap.detach() / gap.numel(), atol=1e-7)


@pytest.mark.paper("VA-4")
def test_the_codebook_is_the_moving_average_of_its_latents():
    output = quantizer(decay=0.9, reset_below=0)
    sizes, sums = output.sizes.double().numpy(), output.sums.double().numpy()
    for step in range(4):
        x = latents(seed=step)
        tokens = output(x).tokens.flatten().numpy()
        before = state(output)
        output.update()
        flat = x.flatten(0, 1).double().numpy()
        for code in range(CODES):
            mine = flat[tokens == code]
            sizes[code] = 0.9 * sizes[code] + 0.1 * len(mine)
            sums[code] = 0.9 * sums[code] + 0.1 * mine.sum(0)
        assert np.allclose(output.sizes, sizes, atol=1e-6)
        assert np.allclose(output.codebook, sums / sizes[:, None], atol=1e-6)
        assert not same(before, state(output))


@pytest.mark.paper("VA-4")
def test_batches_of_one_step_count_as_one():
    one, two = quantizer(), quantizer()
    x, chances = latents(batch=4), torch.rand(4, 5, generator=torch.Generator().manual_seed(3))
    one(x, chances=chances)
    two(x[:1], chances=chances[:1])
    two(x[1:], chances=chances[1:])
    one.update(), two.update()
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], value)


@pytest.mark.paper("VA-4")
def test_codes_come_from_the_first_batch():
    output = VectorQuantizer(CODES, WIDTH)
    x, chances = latents(), torch.rand(3, 5, generator=torch.Generator().manual_seed(3))
    output(x, chances=chances)
    output.update()
    wanted = x.flatten(0, 1)[chances.flatten().argsort(descending=True)[:CODES]]
    assert torch.allclose(output.codebook, wanted, atol=1e-6)
    assert output.resets == CODES


def test_codes_that_find_no_latent_wait_for_the_next_step():
    output = VectorQuantizer(CODES, WIDTH)
    for step in range(3):
        output(latents(1, 3, seed=step))
        output.update()
        assert (output.sizes > 0).sum() == min(CODES, 3 * (step + 1))
    given = torch.cat([latents(1, 3, seed=step)[0] for step in range(3)])
    assert (torch.cdist(output.codebook, given).min(1).values < 0.5).all(), "moved by a latent or two since"


@pytest.mark.paper("VA-4")
def test_unused_codes_are_reset_to_latents_of_the_batch_and_the_others_stay():
    output = quantizer(decay=0.5, reset_below=0.2)
    output.codebook[3:] += 100  # too far away for anybody
    output.sums.copy_(output.sizes[:, None] * output.codebook)
    for step in range(20):
        x = latents(4, 8, seed=step)
        far = output.codebook.norm(dim=1) > 50
        output(x)
        output.update()
        if output.resets:
            break
    assert step == 1, "from 2 over 1 to 0.5, the limit is 0.2 x 32 / 7"
    gaps = (output.codebook[:, None] - x.flatten(0, 1)).norm(dim=-1)
    taken = gaps.min(1).values < 1e-5
    assert torch.equal(taken, far)
    assert output.resets == 4
    for step in range(20, 40):
        output(latents(4, 8, seed=step))
        output.update()
    assert (output.sizes > 0.2 * 32 / CODES).float().mean() > 0.8, "codes that were reset are used"


def test_without_resets_a_code_that_is_never_used_stays_where_it_is():
    output = quantizer(decay=0.1, reset_below=0)
    output.codebook[0] = 100.0
    output.sums.copy_(output.sizes[:, None] * output.codebook)
    for step in range(60):
        output(latents(seed=step))
        output.update()
    assert torch.allclose(output.codebook[0], torch.full((WIDTH,), 100.0))
    output(torch.full((1, 1, WIDTH), 90.0))
    output.update()
    assert torch.allclose(output.codebook[0], torch.full((WIDTH,), 90.0)), "and it can be found again"


@pytest.mark.paper("VA-4")
def test_padding_neither_counts_nor_becomes_a_code_nor_costs():
    x, chances = latents(2, 6), torch.rand(2, 6, generator=torch.Generator().manual_seed(3)) * 0.5
    mask = torch.tensor([[1.0] * 6, [1, 1, 0, 0, 0, 0]])
    padded = torch.where(mask[..., None] > 0, x, 50.0)
    chances = torch.where(mask > 0, chances, 0.9)
    for output in (quantizer(), VectorQuantizer(CODES, WIDTH)):
        other = copy.deepcopy(output)
        found = output(padded, mask, chances)
        one, two = (other(x[i : i + 1, :n], chances=chances[i : i + 1, :n]) for i, n in ((0, 6), (1, 2)))
        output.update(), other.update()
        assert found.commitment.item() == pytest.approx((one.commitment.item() + two.commitment.item()) / 2, rel=1e-5)
        for name, value in other.state_dict().items():
            torch.testing.assert_close(output.state_dict()[name], value)
        assert output.codebook.abs().max() < 10


def test_nothing_moves_when_measuring():
    output = quantizer().eval()
    before = state(output)
    output(latents())
    output.update()
    assert same(state(output), before)


def test_what_is_not_finite_is_left_out():
    x = latents()
    bad = x.clone()
    bad[0, 0, 0], bad[1, 1, 1] = float("nan"), float("inf")
    output = VectorQuantizer(CODES, WIDTH)
    output(bad)
    output.update()
    assert torch.isfinite(output.codebook).all()
    assert output.sizes.sum() > 0


@pytest.mark.paper("VA-4")
def test_averages_are_saved_and_training_goes_on_from_them_to_the_bit():
    def steps(made: VectorQuantizer, numbers: range) -> None:
        for number in numbers:
            torch.manual_seed(number)  # the resets' chances
            made(latents(4, 8, seed=number))
            made.update()

    whole = VectorQuantizer(CODES, WIDTH, decay=0.7, reset_below=0.4)
    steps(whole, range(6))
    half = VectorQuantizer(CODES, WIDTH, decay=0.7, reset_below=0.4)
    steps(half, range(3))
    saved = state(half)
    assert saved.keys() == {"codebook", "sizes", "sums"}
    repeated = VectorQuantizer(CODES, WIDTH, decay=0.7, reset_below=0.4)
    repeated.load_state_dict(saved)
    steps(repeated, range(3, 6))
    assert same(state(repeated), state(whole))


def test_under_autocast_distances_keep_full_precision():
    output = VectorQuantizer(2, WIDTH).eval()
    output.codebook.copy_(torch.tensor([[100.0], [100.25]]).expand(2, WIDTH))  # one number in bfloat16
    x = torch.full((1, 1, WIDTH), 100.2)
    with torch.autocast("cpu", torch.bfloat16):
        assert output(x).tokens.item() == 1
        halved = torch.nn.functional.linear(x, torch.eye(WIDTH))
        assert halved.dtype == torch.bfloat16
        assert output(halved).vectors.dtype == torch.bfloat16


def test_averages_stay_in_full_precision_in_a_network_of_16_bits():
    output = quantizer().to(torch.bfloat16)
    assert {value.dtype for value in output.state_dict().values()} == {torch.float32}
    found = output(latents().bfloat16())
    output.update()
    assert found.vectors.dtype == torch.bfloat16
    assert quantizer().double().codebook.dtype == torch.float64


def test_perplexity_counts_codes_that_are_used_alike():
    output = quantizer()
    assert output.perplexity.item() == pytest.approx(CODES)
    output.sizes.copy_(torch.tensor([1.0, 1, 0, 0, 0, 0, 0]))
    assert output.perplexity.item() == pytest.approx(2)


@pytest.mark.parametrize("wrong", [{"codes": 1}, {"decay": 1.0}, {"reset_below": 1.0}, {"reset_below": -0.1}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=r"got (1|-0\.1)"):
        VectorQuantizer(**{"codes": 4, "width": 2, **wrong})


@pytest.mark.paper("VA-4")
def test_two_processes_hold_one_codebook_to_the_bit_and_it_is_that_of_one_process(tmp_path):
    words = [sys.executable, "-m", "tests.models.quantizer_ranks"]
    ranks = [subprocess.Popen([*words, str(rank), "2", str(tmp_path)], cwd=ROOT) for rank in (0, 1)]
    assert [process.wait(100) for process in ranks] == [0, 0]
    (first, resets), (second, others) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert same(first, second)
    assert resets == others
    alone, expected = train(0, 1)
    assert resets == expected
    assert sum(resets[1:]) > 0, "codes were reset on the way"
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("part", ["nearest", "forward"])
def test_autocast_changes_nothing(part):
    """The codebook's arithmetic is in 32 bits whoever asks: training, or the tokeniser's encoder alone."""
    torch.manual_seed(0)
    book = 30 + torch.randn(64, WIDTH) / 20  # closer to one another than bfloat16 can tell at 30
    x = 30 + torch.randn(4, 50, WIDTH) / 20
    found = []
    for enabled in (False, True):
        output = VectorQuantizer(64, WIDTH)
        output.codebook.copy_(book)
        output.sizes.fill_(2.0)
        output.sums.copy_(2 * book)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            said = (output.nearest(x),) if part == "nearest" else tuple(output.train()(x))
            output.update()
        found.append((*said, output.codebook.clone()))
    for plain, cast in zip(*found, strict=True):
        assert torch.equal(plain, cast)
