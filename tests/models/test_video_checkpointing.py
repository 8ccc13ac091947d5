"""What is kept for the backward pass: no batch between calls, and little with gradient checkpointing."""

import copy
import gc

import torch

from tests.models.video_networks import fresh, inputs, noisy, tiny


def loss_of(network, z, given):
    return network(*z, given).square().mean()


def gradients(network, z, given):
    network.zero_grad()
    loss_of(network, z, given).backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def test_gradients_are_the_same_when_activations_are_computed_again():
    network = tiny().train()
    z, given = noisy(network), inputs(network)
    kept = gradients(network, z, given)
    network.enable_gradient_checkpointing()
    again = gradients(network, z, given)
    assert kept.keys() == again.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(again[name], gradient, msg=name)
    assert any("motion_modules" in name for name in kept)
    assert any(name.startswith("reference_unet") for name in kept)


def saved_by(network, call) -> int:
    """Bytes kept for the backward pass beside the weights."""
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def keep(value):
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        output = call()
    assert output is not None
    return sum(kept.values())


def test_checkpointing_keeps_at_most_15_percent_of_the_activations_of_both_unets():
    sizes = {"channels": (16, 32), "layers": 2, "heads": 2, "norm_groups": 8}
    network = fresh(**sizes).train()
    z, given = noisy(network, (8, 8), frames=4), inputs(network, (8, 8), frames=4)
    image = network.image_tokens(given).detach()
    latents = given.reference
    conditions = network.encode(given)
    detached = type(conditions)(
        {place: each.detach() for place, each in conditions.reference.items()},
        image, conditions.pose.detach(), conditions.audio.detach(), conditions.masks,
    )  # fmt: skip
    calls = {
        "denoiser": lambda: network(*z, detached),
        "reference": lambda: network.reference_unet(latents, image),
        "pose guider": lambda: network.encode_poses(given.skeletons, latents),
        "all of a step": lambda: network(*z, given),
    }
    without = {name: saved_by(network, call) for name, call in calls.items()}
    network.enable_gradient_checkpointing()
    ratios = {name: saved_by(network, call) / without[name] for name, call in calls.items()}
    assert max(ratios.values()) <= 0.15, ratios


def test_no_module_keeps_a_batch_between_calls():
    network = tiny().train()
    network.enable_gradient_checkpointing()
    gradients(network, noisy(network), inputs(network))
    network.zero_grad(set_to_none=True)
    before = _tensors()
    for seed in range(3):
        gradients(network, noisy(network, seed=seed), inputs(network, seed=seed))
        network.zero_grad(set_to_none=True)
    assert _tensors() == before
    own = {id(t) for t in (*network.parameters(), *network.buffers())}
    for module in network.modules():
        for name, value in vars(module).items():
            assert not isinstance(value, torch.Tensor) or id(value) in own, (
                f"{type(module).__name__}.{name} keeps a tensor"
            )


def test_a_copy_is_a_network_of_its_own():
    """The moving average copies the network: nothing in it may hold on to the first one's modules."""
    network = tiny()
    other = copy.deepcopy(network)
    z, given = noisy(network), inputs(network)
    before = loss_of(other, z, given)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert torch.equal(loss_of(other, z, given), before)


def _tensors() -> int:
    gc.collect()
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
