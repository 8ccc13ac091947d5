"""LSE-D and LSE-C against plain numpy; SyncNet against its layers one by one."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metrics import LipSync
from metrics.faces import syncnet_crops
from metrics.mfcc import speech_mfcc
from metrics.sync import load_syncnet, offset_distances, sync_scores
from models.human.syncnet import SyncNet
from settings import ConfigError


def randomised(network: SyncNet) -> SyncNet:
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def layer(x: torch.Tensor, state: dict, name: str, number: int, convolve=None, **options) -> torch.Tensor:
    """One layer and its normalisation, from the file's numbers."""
    weight, bias = state[f"{name}.{number}.weight"], state[f"{name}.{number}.bias"]
    x = convolve(x, weight, bias, **options) if convolve else x @ weight.T + bias
    if f"{name}.{number + 1}.running_var" in state:
        mean, variance, scale, shift = (
            state[f"{name}.{number + 1}.{part}"].reshape(-1, *[1] * (x.ndim - 2))
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)
    return x


@torch.no_grad()
def released_lips(x: torch.Tensor, state: dict) -> torch.Tensor:
    """`forward_lip` of syncnet_python's S, numbered as its file is."""
    x = layer(x, state, "netcnnlip", 0, F.conv3d, stride=(1, 2, 2))
    x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2))
    x = layer(x, state, "netcnnlip", 4, F.conv3d, stride=(1, 2, 2), padding=(0, 1, 1))
    x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for number in (8, 11, 14):
        x = layer(x, state, "netcnnlip", number, F.conv3d, padding=(0, 1, 1))
    x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2))
    x = layer(x, state, "netcnnlip", 18, F.conv3d).flatten(1)
    return layer(layer(x, state, "netfclip", 0), state, "netfclip", 3)


@torch.no_grad()
def released_speech(x: torch.Tensor, state: dict) -> torch.Tensor:
    """`forward_aud` of syncnet_python's S, numbered as its file is."""
    x = layer(x, state, "netcnnaud", 0, F.conv2d, padding=1)
    x = layer(x, state, "netcnnaud", 4, F.conv2d, padding=1)
    x = F.max_pool2d(x, 3, (1, 2))
    for number in (8, 11, 14):
        x = layer(x, state, "netcnnaud", number, F.conv2d, padding=1)
    x = F.max_pool2d(x, 3, 2)
    x = layer(x, state, "netcnnaud", 18, F.conv2d).flatten(1)
    return layer(layer(x, state, "netfcaud", 0), state, "netfcaud", 3)


@torch.no_grad()
def test_the_released_file_loads_and_the_network_is_the_released_one(tmp_path):
    """The file is of 2017: an older format, and batch norms that do not yet count batches."""
    network = randomised(SyncNet())
    state = OrderedDict((k, v) for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked"))
    torch.save(state, tmp_path / "syncnet_v2.model", _use_new_zipfile_serialization=False)
    loaded = load_syncnet(tmp_path)
    assert loaded.netfclip[3].weight.shape == (1024, 512)
    lips = 255 * torch.rand(1, 3, 5, 224, 224, generator=torch.Generator().manual_seed(1))
    speech = 10 * torch.randn(2, 1, 13, 20, generator=torch.Generator().manual_seed(2))
    for ours, released in (
        (loaded.forward_lip(lips), released_lips(lips, state)),
        (loaded.forward_aud(speech), released_speech(speech, state)),
    ):
        assert ours.shape[1] == 1024
        torch.testing.assert_close(ours, released, rtol=1e-3, atol=1e-3 * released.abs().max().item())
    assert LipSync(loaded).label == "LSE (other weights)"
    assert "syncnet_v2.model" in str(LipSync(loaded).source)


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"syncnet_v2\.model: joonson/syncnet_python"):
        LipSync(tmp_path / "nowhere.model")
    torch.save(SyncNet(shrink=32, features=4).state_dict(), tmp_path / "small.model")
    with pytest.raises(ConfigError, match=r"small\.model is of another network"):
        LipSync(tmp_path / "small.model")
    with pytest.raises(ValueError, match=r"lips \(N, 3, 5, 224, 224\)"):
        SyncNet(shrink=32).forward_lip(torch.zeros(1, 3, 5, 112, 112))
    with pytest.raises(ValueError, match=r"speech \(N, 1, 13, 20\)"):
        SyncNet(shrink=32).forward_aud(torch.zeros(1, 1, 20, 13))


def reference(lips: np.ndarray, speech: np.ndarray, reach: int = 15) -> tuple[float, float]:
    """LSE-D and LSE-C by loops; beyond its end the speech is zero."""
    means = []
    for offset in range(-reach, reach + 1):
        distances = []
        for t, feature in enumerate(lips):
            inside = 0 <= t + offset < len(speech)
            other = speech[t + offset] if inside else np.zeros_like(feature)
            distances.append(np.sqrt(((feature - other + 1e-6) ** 2).sum()))
        means.append(np.mean(distances))
    return min(means), np.median(means) - min(means)


@pytest.mark.paper("MMGT-23")
@pytest.mark.paper("VA-17")
@pytest.mark.paper("IM-19")
@pytest.mark.parametrize("frames", [3, 40])
def test_scores_equal_plain_numpy(frames):
    random = np.random.default_rng(0)
    lips, speech = random.normal(size=(frames, 7)), random.normal(size=(frames, 7))
    least, confidence = sync_scores(offset_distances(torch.from_numpy(lips), torch.from_numpy(speech)))
    expected = reference(lips, speech)
    assert (least.item(), confidence.item()) == pytest.approx(expected)


def test_entry_k_is_offset_k_less_the_reach():
    lips = torch.eye(60)
    distances = offset_distances(lips[:50], lips[3:53])  # the speech of frame t belongs to the lips of frame t + 3
    assert distances.argmin() == 15 - 3


class Loudness(nn.Module):
    """Lips: how bright the blue channel is at the first and last frame; speech: how loud its first and last steps."""

    def forward_lip(self, lips):
        assert lips.shape[1:] == (3, 5, 224, 224)
        return torch.stack([lips[:, 0, 0].mean((1, 2)), lips[:, 0, -1].mean((1, 2))], 1)

    def forward_aud(self, speech):
        assert speech.shape[1:] == (1, 13, 20)
        return 10 * torch.stack([speech[:, 0, 0, 0], speech[:, 0, 0, 16]], 1)


@pytest.fixture
def talk() -> tuple[torch.Tensor, np.ndarray]:
    """40 frames whose blue channel follows the loudness of 1.6 s of sound."""
    random = np.random.default_rng(0)
    loudness = np.repeat(random.uniform(0.01, 0.5, 45), 640)
    audio = (loudness * random.uniform(-1, 1, len(loudness))).astype(np.float32)
    level = speech_mfcc(np.round(audio * 32768))[: 4 * 40 : 4, 0]
    frames = torch.zeros(40, 3, 224, 224)
    frames[:, 2] = torch.from_numpy(10 * level / 255).float()[:, None, None]
    return frames, audio


@pytest.mark.paper("IM-19")
def test_measures_what_syncnet_is_shown(talk):
    """Blue first, values to 255, five frames beside twenty steps of speech, the last window left out."""
    frames, audio = talk
    metric = LipSync(Loudness(), batch=7)
    metric.update(frames, audio)
    bytes_ = (frames[:, 2, 0, 0] * 255).round().double().numpy()
    steps = 10 * speech_mfcc(np.round(audio * 32768))[:, 0]
    lips = np.stack([[bytes_[t], bytes_[t + 4]] for t in range(35)])
    speech = np.stack([[steps[4 * t], steps[4 * t + 16]] for t in range(35)])
    least, confidence = reference(lips, speech)
    scores = metric.compute()
    assert scores["LSE-D"].item() == pytest.approx(least, rel=1e-4)
    assert scores["LSE-C"].item() == pytest.approx(confidence, rel=1e-4)
    assert least < 1 < confidence
    assert metric.source.what == "Loudness"


def test_lips_of_another_sentence_score_worse(talk):
    frames, audio = talk
    right, wrong = LipSync(Loudness()), LipSync(Loudness())
    right.update(frames, audio)
    wrong.update(frames[torch.randperm(40, generator=torch.Generator().manual_seed(0))], audio)
    assert right.compute()["LSE-D"] < wrong.compute()["LSE-D"]
    assert right.compute()["LSE-C"] > wrong.compute()["LSE-C"]


def test_clips_count_alike_and_the_rest_is_counted_apart(talk):
    frames, audio = talk
    metrics = [LipSync(Loudness()) for _ in range(3)]
    metrics[0].update(frames, audio)
    metrics[1].update(frames[:20], audio)
    metrics[2].update(frames, audio)
    metrics[2].update(frames[:20], audio)
    metrics[2].update(frames[:5], audio)
    metrics[2].update(frames, audio[: 640 * 5])
    metrics[2].update(frames, audio, face_boxes=np.full((40, 4), -1.0))
    mean = (metrics[0].compute()["LSE-C"] + metrics[1].compute()["LSE-C"]) / 2
    assert metrics[2].compute()["LSE-C"].item() == pytest.approx(mean.item())
    assert (metrics[2].clips, metrics[2].short, metrics[2].unseen) == (2, 2, 1)
    assert LipSync(Loudness()).compute()["LSE-D"].isnan()


def test_another_frame_rate_is_brought_to_25(talk):
    frames, audio = talk
    plain, doubled = LipSync(Loudness()), LipSync(Loudness())
    plain.update(frames, audio)
    doubled.update(frames.repeat_interleave(2, 0), audio, fps=50)
    assert doubled.compute()["LSE-D"].item() == pytest.approx(plain.compute()["LSE-D"].item())


def test_faces_are_cut_out_of_whole_frames(talk):
    frames, audio = talk
    wide = F.interpolate(frames, (240, 320))
    boxes = torch.tensor([0.4, 0.3, 0.6, 0.7]).expand(40, 4)
    plain, cut = LipSync(Loudness()), LipSync(Loudness())
    plain.update(frames, audio)
    cut.update(wide, audio, face_boxes=boxes)
    assert cut.compute()["LSE-D"].item() == pytest.approx(plain.compute()["LSE-D"].item(), rel=1e-3)


def ramp(height: int, width: int) -> np.ndarray:
    """A frame that says where it is: x in the first channel, y in the second."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 7)], -1).astype(np.uint8)


def test_a_crop_is_the_pipelines_square():
    frames = np.stack([ramp(240, 250)] * 3)
    boxes = np.tile(np.array([100 / 250, 80 / 240, 150 / 250, 160 / 240]), (3, 1))
    crop = syncnet_crops(frames, boxes)[1].astype(int)
    # Half of the longer side is 40, the middle at (125, 120): x from 125 - 56 to 125 + 56, y from 120 - 40 to 120 + 72.
    assert crop.shape == (224, 224, 3)
    assert crop[0, 0, 0] == pytest.approx(69, abs=1)
    assert crop[0, -1, 0] == pytest.approx(180, abs=1)
    assert crop[0, 0, 1] == pytest.approx(80, abs=1)
    assert crop[-1, 0, 1] == pytest.approx(191, abs=1)


def test_outside_the_frame_is_grey_and_missing_boxes_come_from_their_neighbours():
    frames = np.stack([ramp(100, 100)] * 5)
    boxes = np.tile(np.array([0.0, 0.0, 0.4, 0.4]), (5, 1))
    boxes[1], boxes[3] = -1, np.nan
    crops = syncnet_crops(frames, boxes)
    assert (crops[:, 100, 2] == 110).all()
    assert (crops[1] == crops[0]).all()
    assert (crops[3] == crops[0]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": torch.zeros(40, 3, 96, 96)}, "give face_boxes"),
        ({"audio": np.zeros(25_600, np.int16)}, r"in \[-1, 1\], mono"),
        ({"audio": np.full(25_600, 200.0)}, "divide 16-bit samples"),
        ({"audio": np.full(25_600, np.nan)}, "divide 16-bit samples"),
        ({"audio": np.zeros((2, 25_600))}, "mono"),
        ({"sample_rate": 44_100}, "16000 Hz"),
        ({"fps": 0}, "fps=0"),
        ({"face_boxes": np.zeros((39, 4))}, "39 face boxes"),
    ],
)
def test_wrong_clips_are_named(talk, change, message):
    frames, audio = talk
    with pytest.raises(ValueError, match=message):
        LipSync(Loudness()).update(**{"frames": frames, "audio": audio, **change})
