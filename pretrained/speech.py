"""Speech networks that others trained, through transformers: wav2vec 2.0, WavLM, HuBERT and Whisper."""

from pathlib import Path
from typing import Any, Final

from models.saved import only_a_path
from settings import ConfigError

KINDS: Final = ("wav2vec2", "wavlm", "hubert")
WHISPER: Final = "whisper"
_WHERE: Final = (
    "give speech.model a folder with config.json and model.safetensors, or a hub name such as "
    "facebook/wav2vec2-base-960h, microsoft/wavlm-large, facebook/hubert-large-ls960-ft or openai/whisper-tiny.en; "
    "with no network, fetch it elsewhere with `hf download NAME --local-dir FOLDER` and give FOLDER"
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
    network, kind = _load(model, KINDS)
    if network is None:
        other = "; speech=[{name: whisper, model: ...}] reads those" if kind == WHISPER else ""
        raise ConfigError(f"speech model '{model}' is a {kind}, not one of {', '.join(KINDS)}{other}")
    name = _name(model)
    wanted = _normalizes(model, name, rate) if normalize is None else normalize
    return network.eval().requires_grad_(False), wanted


def load_whisper(model: str, rate: int) -> tuple[Any, Any]:
    """Whisper's encoder, frozen, and what makes its input of sound.

    Args:
        model: folder or hub name.
        rate: samples a second that it will be given.

    Raises:
        ConfigError: it cannot be loaded, is of another kind, or wants another rate.
    """
    from transformers import WhisperFeatureExtractor

    network, kind = _load(model, (WHISPER,))
    if network is None:
        raise ConfigError(
            f"speech model '{model}' is a {kind}, not a {WHISPER}; speech=[{{name: transformers, model: ...}}] reads "
            f"{', '.join(KINDS)}"
        )
    try:
        extractor = WhisperFeatureExtractor.from_pretrained(_name(model))
    except (OSError, ValueError):
        # All of Whisper's networks read the same mels, of which the larger ones have more.
        extractor = WhisperFeatureExtractor(feature_size=network.config.num_mel_bins)
    if extractor.sampling_rate != rate:
        raise ConfigError(f"speech model '{model}' wants {extractor.sampling_rate} Hz, the clips have {rate} Hz")
    return network.encoder.eval().requires_grad_(False), extractor


def kind_of(model: str) -> str:
    """What kind of speech network a folder or hub name holds, in transformers' words ("wavlm", "whisper").

    Raises:
        ConfigError: none is there.
    """
    return _load(model, ())[1]


def _name(model: str) -> str:
    folder = Path(model).expanduser()
    return str(folder) if folder.is_dir() else model


def _load(model: str, kinds: tuple[str, ...]) -> tuple[Any, str]:
    """The network, None where it is of another kind, and its kind."""
    from transformers import AutoConfig, AutoModel

    if only_a_path(model) and not Path(model).expanduser().is_dir():
        raise ConfigError(f"speech model '{model}': there is no such folder; {_WHERE}")
    name = _name(model)
    try:
        kind = AutoConfig.from_pretrained(name).model_type
        return (AutoModel.from_pretrained(name) if kind in kinds else None), kind
    except (OSError, ValueError) as error:
        raise ConfigError(f"speech model '{model}' cannot be loaded ({str(error).splitlines()[0]}); {_WHERE}") from None


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
