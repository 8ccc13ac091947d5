"""Speech networks that others trained, through transformers: wav2vec 2.0, WavLM and HuBERT."""

from pathlib import Path
from typing import Any, Final

from models.saved import only_a_path
from settings import ConfigError

KINDS: Final = ("wav2vec2", "wavlm", "hubert")
_WHERE: Final = (
    "give speech.model a folder with config.json and model.safetensors, or a hub name such as "
    "facebook/wav2vec2-base-960h, microsoft/wavlm-large or facebook/hubert-large-ls960-ft; with no network, "
    "fetch it elsewhere with `hf download NAME --local-dir FOLDER` and give FOLDER"
)


def load_speech_model(model: str, normalize: bool | None, rate: int) -> tuple[Any, bool]:
    """A speech network, frozen, and whether it wants sound of mean 0 and variance 1.

    Args:
        model: folder or hub name.
        normalize: whether it does, where that is known; None reads it from the model's own preprocessor.
        rate: samples a second that it will be given.

    Raises:
        ConfigError: it cannot be loaded, is of another kind, wants another rate, or does not say what it wants.
    """
    from transformers import AutoConfig, AutoModel

    folder = Path(model).expanduser()
    if only_a_path(model) and not folder.is_dir():
        raise ConfigError(f"speech model '{model}': there is no such folder; {_WHERE}")
    name = str(folder) if folder.is_dir() else model
    try:
        kind = AutoConfig.from_pretrained(name).model_type
        network = AutoModel.from_pretrained(name) if kind in KINDS else None
    except (OSError, ValueError) as error:
        raise ConfigError(f"speech model '{model}' cannot be loaded ({str(error).splitlines()[0]}); {_WHERE}") from None
    if network is None:
        raise ConfigError(f"speech model '{model}' is a {kind}, not one of {', '.join(KINDS)}")
    wanted = _normalizes(model, name, rate) if normalize is None else normalize
    return network.eval().requires_grad_(False), wanted


def _normalizes(model: str, name: str, rate: int) -> bool:
    from transformers import AutoFeatureExtractor

    try:
        extractor = AutoFeatureExtractor.from_pretrained(name)
    except (OSError, ValueError):
        raise ConfigError(
            f"speech model '{model}' has no preprocessor_config.json that says whether its sound is normalised; "
            "say it with speech.normalize=true or false"
        ) from None
    if extractor.sampling_rate != rate:
        raise ConfigError(f"speech model '{model}' wants {extractor.sampling_rate} Hz, the clips have {rate} Hz")
    return bool(extractor.do_normalize)
