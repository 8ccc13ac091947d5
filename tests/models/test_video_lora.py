"""LoRA of the spatial parts: the identity at first, trained in their place, saved with them."""

import torch

from models.mmgt.video import MMGTVideo
from models.video.lora import lora_parameters
from tests.models.video_networks import differs, fresh, inputs, noisy, tiny


@torch.no_grad()
def predict(network):
    return network(*noisy(network), inputs(network))


def without_lora(network: MMGTVideo) -> dict[str, torch.Tensor]:
    return {n.replace(".base_layer.", "."): v for n, v in network.state_dict().items() if ".lora_" not in n}


def test_additions_start_as_the_identity_and_then_change_the_network():
    network, plain = fresh(lora_rank=2), fresh()
    plain.load_state_dict(without_lora(network))
    torch.testing.assert_close(predict(network), predict(plain))
    before = predict(network)
    with torch.no_grad():
        for parameter in lora_parameters(network):
            parameter.add_(0.3)
    assert differs(before, predict(network))


def test_until_it_is_told_what_to_train_a_network_with_additions_trains_all_that_one_without_does():
    network, plain = fresh(lora_rank=2), fresh()
    taking = {name.replace(".base_layer.", ".") for name, p in network.named_parameters() if p.requires_grad}
    assert {name for name in taking if ".lora_" not in name} == {
        n for n, p in plain.named_parameters() if p.requires_grad
    }
    network(*noisy(network), inputs(network)).square().mean().backward()
    assert all((p.grad is not None) == p.requires_grad for p in network.parameters())


def test_they_are_trained_in_place_of_what_they_are_added_to():
    network = tiny(lora_rank=2).train()
    network.train_only("spatial")
    names = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    unets = {name for name in names if name.startswith(("denoiser", "reference_unet"))}
    assert unets
    assert all(".lora_" in name and ".attentions." in name for name in unets)
    assert {name.split(".")[0] for name in names - unets} == {"pose_guider", "image_projection"}
    network(*noisy(network), inputs(network), temporal=False).square().mean().backward()
    assert all((p.grad is not None) == (name in names) for name, p in network.named_parameters())
    network.train_only("audio_motion")
    assert not any(parameter.requires_grad for parameter in lora_parameters(network))


def test_they_are_in_the_export_and_come_back(tmp_path):
    network = tiny(lora_rank=2)
    network.save_pretrained(tmp_path)
    again = MMGTVideo.from_pretrained(tmp_path)
    assert torch.equal(predict(again), predict(network))
    assert len(lora_parameters(again)) == len(lora_parameters(network)) == 2 * 2 * 4 * 2 * 4
    assert len(lora_parameters(fresh())) == 0


def test_gradient_checkpointing_goes_with_them():
    network = tiny(lora_rank=2).train()
    network.train_only("spatial")
    results = []
    for _ in range(2):
        network.zero_grad()
        network(*noisy(network), inputs(network), temporal=False).square().mean().backward()
        results.append([p.grad.clone() for p in network.spatial_parameters()])
        network.enable_gradient_checkpointing()
    for kept, again in zip(*results, strict=True):
        torch.testing.assert_close(again, kept)
