"""Adan over lists of tensors, held against the library's, which steps tensor by tensor."""

from collections.abc import Iterator

import pytest
import torch
from pytorch_optimizer import Adan as LibraryAdan
from torch import nn

from trainers.stage import adan
from trainers.stage.adan import Adan

OPTIONS = {"lr": 0.02, "betas": (0.98, 0.92, 0.99), "eps": 1e-8, "weight_decay": 0.3}


def library(params: list, **options) -> LibraryAdan:
    return LibraryAdan(params, **{**OPTIONS, **options}, weight_decouple=False, foreach=False)


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    g = torch.Generator().manual_seed(0)
    sizes = [(3,), (40, 50), (1,), (7, 5, 3, 3), (0, 4)]
    output = [nn.Parameter(torch.randn(size, generator=g).to(dtype)) for size in sizes]
    output.append(nn.Parameter(torch.randn(6, 4, 3, 3, generator=g).to(dtype).to(memory_format=torch.channels_last)))
    return output


def gradients(params: list[nn.Parameter], step: int) -> None:
    g = torch.Generator().manual_seed(step + 1)
    for number, p in enumerate(params):
        p.grad = torch.randn(p.shape, generator=g).to(p.dtype) * 10.0 ** (step % 5 - 3)
        if number == 1 and step in (0, 4, 5):  # begins later than the others, and pauses
            p.grad = None


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adan, "CACHED", 96)  # below the largest tensor and above the smallest


@pytest.mark.paper("MMGT-12")
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_the_same_weights_and_state_as_the_librarys_over_many_steps(dtype: torch.dtype, close: float) -> None:
    own, other = parameters(dtype), parameters(dtype)
    ours, theirs = Adan(own, **OPTIONS), library(other)
    for step in range(60):
        for optimizer in (ours, theirs):
            optimizer.param_groups[0]["lr"] = 0.02 / (1 + step)  # a schedule
        gradients(own, step)
        gradients(other, step)
        for params in (own, other):
            nn.utils.clip_grad_norm_([p for p in params if p.grad is not None], 1.0)
        ours.step()
        theirs.step()
        for mine, expected in zip(own, other, strict=True):
            torch.testing.assert_close(mine, expected, rtol=close, atol=close)
    for mine, expected in zip(own, other, strict=True):
        assert ours.state[mine].keys() == theirs.state[expected].keys()
        for name, value in theirs.state[expected].items():
            torch.testing.assert_close(ours.state[mine][name], value, rtol=close, atol=close)


def test_gradients_are_only_read() -> None:
    params = parameters()
    gradients(params, 1)
    before = [p.grad.clone() for p in params]
    Adan(params, **OPTIONS).step()
    for p, grad in zip(params, before, strict=True):
        assert torch.equal(p.grad, grad)


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_checkpoint_goes_on_in_the_other(first: str) -> None:
    """Runs saved with the library's optimiser resume with ours, and the other way round."""
    output = {"ours": Adan, "theirs": library}
    begun, unbroken = parameters(torch.float64), parameters(torch.float64)
    before, reference = output[first](begun, **OPTIONS), output[first](unbroken, **OPTIONS)
    for step in range(10):
        for params, optimizer in ((begun, before), (unbroken, reference)):
            gradients(params, step)
            optimizer.step()
    after = output["theirs" if first == "ours" else "ours"](begun, **OPTIONS)
    after.load_state_dict(before.state_dict())
    for step in range(10, 20):
        for params, optimizer in ((begun, after), (unbroken, reference)):
            gradients(params, step)
            optimizer.step()
    for p, expected in zip(begun, unbroken, strict=True):
        torch.testing.assert_close(p, expected, rtol=1e-11, atol=1e-12)


def test_groups_have_options_of_their_own() -> None:
    own, other = parameters(torch.float64), parameters(torch.float64)
    grouped = [[{"params": ps[:2], "weight_decay": 0.0}, {"params": ps[2:], "lr": 0.5}] for ps in (own, other)]
    ours, theirs = Adan(grouped[0], **OPTIONS), library(grouped[1])
    for step in range(1, 4):
        gradients(own, step)
        gradients(other, step)
        ours.step()
        theirs.step()
    for mine, expected in zip(own, other, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)


@pytest.fixture
def mesh(tmp_path) -> Iterator[torch.distributed.DeviceMesh]:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_sharded_tensors_are_stepped_where_they_lie(mesh: torch.distributed.DeviceMesh) -> None:
    from torch.distributed.tensor import DTensor, Shard, distribute_tensor

    whole = [nn.Parameter(torch.randn(9, 12, dtype=torch.float64)), nn.Parameter(torch.randn(5, dtype=torch.float64))]
    cut = [nn.Parameter(distribute_tensor(p.detach().clone(), mesh, [Shard(0)])) for p in whole]
    ours, sharded = Adan(whole, **OPTIONS), Adan(cut, **OPTIONS)
    for _ in range(5):
        for p, piece in zip(whole, cut, strict=True):
            p.grad = torch.randn_like(p)
            piece.grad = distribute_tensor(p.grad, mesh, [Shard(0)])
        ours.step()
        sharded.step()
    for p, piece in zip(whole, cut, strict=True):
        torch.testing.assert_close(piece.full_tensor(), p.detach(), rtol=1e-12, atol=1e-12)
        assert all(isinstance(value, DTensor) for value in sharded.state[piece].values())


def test_half_precision_stretches_beside_full_ones() -> None:
    """ZeRO hands over flat tensors, some of them in half precision."""
    params = [nn.Parameter(torch.randn(500)), nn.Parameter(torch.randn(500).bfloat16())]
    expected = [nn.Parameter(p.detach().clone()) for p in params]
    for p, other in zip(params, expected, strict=True):
        p.grad = torch.randn_like(p)
        other.grad = p.grad.clone()
    Adan(params, **OPTIONS).step()
    library(expected).step()
    for p, other in zip(params, expected, strict=True):
        assert p.dtype == other.dtype
        torch.testing.assert_close(p, other, rtol=2e-2 if p.dtype == torch.bfloat16 else 1e-5, atol=1e-5)
