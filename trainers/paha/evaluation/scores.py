"""How well classifiers say that generated latents suit their speech: the ones that guided, or others (PH-15)."""

from typing import Any, Final

import torch
from torch import Tensor

from models.paha.classifier import PCEClassifier
from models.paha.generate import UniVDMSource
from models.paha.regions import Region, region_mask
from models.paha.univdm import UniVDM, UniVDMInputs
from trainers.evaluation.comparison import Figure
from trainers.paha.system import UniVDMFigureOptions
from trainers.video.guidance import Judges, load_classifier

SCORES: Final[dict[Region, str]] = {"face": "score_face", "nonface": "score_nonface"}
RISES: Final[dict[Region, str]] = {"face": "rises_face", "nonface": "rises_nonface"}
_TITLES: Final[dict[Region, str]] = {"face": "face", "nonface": "rest"}


class Jury:
    """Classifiers that are asked about finished videos.

    Args:
        options: which, and at which noise levels.
        network: whose latents they have to know.
        judges: those that guide: they are asked where no others are given.

    Raises:
        ConfigError: a network that is no such classifier, or of another latent space.
    """

    def __init__(self, options: UniVDMFigureOptions, network: UniVDM, judges: Judges | None):
        self.network, self.levels = network, options.judge_levels
        self.classifiers: dict[Region, PCEClassifier] = {}
        self.by: dict[Region, dict[str, Any]] = {}
        device = next(network.parameters()).device
        regions: tuple[Region, ...] = ("face", "nonface")
        for region in regions:
            where = getattr(options, f"judge_{region}")
            guiding = None if judges is None else judges.exports.get(region)
            if where is not None:
                classifier, export = load_classifier(f"judge_{region}", where, region, network)
                self.classifiers[region] = classifier.to(device)
            elif judges is not None and guiding is not None:
                self.classifiers[region], export = judges.classifiers[region], guiding
            else:
                continue
            same = guiding is not None and guiding.sha256 == export.sha256
            self.by[region] = {"name": export.name, "sha256": export.sha256, "guides": same}

    @property
    def figures(self) -> dict[str, Figure]:
        """Title and meaning of each figure."""
        found = {}
        for region in self.classifiers:
            about = self.by[region]
            whose = "the classifier that guides" if about["guides"] else f"{about['name']}, which does not guide"
            title = _TITLES[region]
            found[SCORES[region]] = Figure(
                f"Score, {title}",
                "higher",
                f"mean logit of {whose}, over segments and noise levels, of the clip's own speech; above 0 it suits",
            )
            found[RISES[region]] = Figure(
                f"Score rises, {title}",
                "higher",
                f"share of clips of which {whose} thinks better than of that without guidance from the same noise",
            )
        return found

    @torch.no_grad()
    def of(self, latents: Tensor, source: UniVDMSource, box: Tensor, seed: int) -> dict[Region, float]:
        """The mean logit of each classifier.

        They are asked segment by segment, as when they guide, at noise that is the same for the same seed.

        Args:
            latents: (1, C, T, h, w) of a video, scaled.
            source: the picture, and the speech that they are held against.
            box: (1, 4) of the face.
            seed: of the noise.
        """
        assert source.speech is not None
        frames = latents.shape[2]
        size = min(self.network.window, frames)
        begins = sorted({min(begin, frames - size) for begin in range(0, frames, size)})
        z = torch.cat([latents[:, :, begin : begin + size] for begin in begins])
        speech = torch.cat([source.speech(begin, begin + size) for begin in begins])
        image = None if source.image is None else source.image.expand(len(z), -1, -1)
        random, noise = torch.Generator().manual_seed(seed), self.network.noise
        scores: dict[Region, list[float]] = {region: [] for region in self.classifiers}
        for share in self.levels:
            levels = torch.full((len(z),), round(share * (noise.train_steps - 1)), device=z.device)
            noisy = noise.add(z, torch.randn(z.shape, generator=random).to(z), levels)
            for region, classifier in self.classifiers.items():
                seen = region_mask(box, z.shape[-2], z.shape[-1], region)
                reference = (source.reference * seen[:, :, 0]).expand(len(z), -1, -1, -1)
                logits = classifier(noisy * seen, levels, UniVDMInputs(reference, image, speech))
                scores[region].append(float(logits.mean()))
        return {region: sum(values) / len(values) for region, values in scores.items()}
