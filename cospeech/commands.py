"""All commands: what each is called, where it stands, and what it does."""

from typing import Final, NamedTuple


class Command(NamedTuple):
    """One command.

    Attributes:
        module: started as `python -m <module>`; its `main` (or that of its `run` or `__main__`) takes the words.
        main: module and function that take the words.
        target: module and attribute whose signature and docstring are the options.
        line: what it does.
    """

    module: str
    main: str
    target: str
    line: str


def _one(module: str, attribute: str, line: str, main: str = "", target: str = "") -> Command:
    return Command(module, f"{main or module}:main", f"{target or module}:{attribute}", line)


COMMANDS: Final = {
    "fit": _one("trainers.fit", "fit", "train a stage; writes a run folder"),
    "animate": _one("trainers.animate", "OPTIONS", "a picture and speech to a video"),
    "stream": _one("trainers.stream", "OPTIONS", "a picture that answers while you speak"),
    "evaluate": _one("trainers.evaluate", "OPTIONS", "measure a trained stage beside baselines"),
    "compare": _one("trainers.compare", "OPTIONS", "several runs in one table and on one page"),
    "export": _one("trainers.export", "export", "a checkpoint to a saved network"),
    "report": _one("trainers.report", "report", "write the report of a run anew"),
    "plan": _one("trainers.plan", "plan", "memory, time and scaling before a training is started"),
    "launch": _one("trainers.launch", "launch", "stages of a system as a chain of SLURM jobs"),
    "failures": _one("trainers.failures", "failures", "which rank of a run failed first"),
    "dashboard": _one("trainers.dashboard", "dashboard", "a Weights & Biases dashboard as code"),
    "demo": _one("trainers.demo", "demo", "the whole way: videos to a trained SMGA to an mp4"),
    "demo-portrait": _one("trainers.demo_portrait", "demo_portrait", "the whole way of a picture that speaks"),
    "demo-video": _one("trainers.demo_video", "demo_video", "the whole way of a picture in video by latent diffusion"),
    "demo-paha": _one("trainers.demo_paha", "demo_paha", "the whole way of PAHA: classifiers guide"),
    "demo-versa": _one("trainers.demo_versa", "demo_versa", "the whole way of text and speech to body motion"),
    "demo-versa-video": _one("trainers.demo_versa_video", "demo_versa_video", "the whole way of VersaAnimator's video"),
    "preprocess": _one(
        "preprocessing.run", "Options", "videos to shards", target="preprocessing.options"
    ),
    "verify": _one("preprocessing.verify", "verify_folder", "what is wrong with shards, by name"),
    "motion": _one(
        "preprocessing.motion", "Options", "motion capture (SMPL-X, HumanML3D) to shards",
        main="preprocessing.motion.run", target="preprocessing.motion.options",
    ),
    "features": _one(
        "preprocessing.features", "Options", "what a trained network makes of clips into shards",
        main="preprocessing.features.run", target="preprocessing.features.run",
    ),
    "negatives": _one(
        "preprocessing.negatives", "Options", "pairs of filmed and generated clips, for classifiers",
        main="preprocessing.negatives.run", target="preprocessing.negatives.options",
    ),
    "head": _one(
        "preprocessing.head", "Options", "a template of heads, for ChatAnyone",
        main="preprocessing.head.run", target="preprocessing.head.run",
    ),
    "bank": _one("preprocessing.bank", "Options", "real 2D poses by motion token"),
    "synthetic": _one(
        "preprocessing.synthetic", "generate", "synthetic talking people with known truth",
        main="preprocessing.synthetic.__main__", target="preprocessing.synthetic.videos",
    ),
    "synthetic-motion": _one(
        "preprocessing.synthetic_motion", "generate", "synthetic people who act as told",
        main="preprocessing.synthetic_motion.__main__", target="preprocessing.synthetic_motion.sets",
    ),
    "synthetic-actors": _one(
        "preprocessing.synthetic_actors", "generate", "synthetic people who act and speak, in pixels",
        main="preprocessing.synthetic_actors.__main__", target="preprocessing.synthetic_actors.videos",
    ),
    "configs": _one("settings.presets", "configs", "the shipped presets: name, stage, what each is for"),
    "completion": _one("settings.completion", "completion", "completion of commands and keys for bash or zsh"),
}  # fmt: skip
"""Name behind `cospeech` to command."""
