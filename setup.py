"""Packages of the wheel: the rooms of the house, with configs/ and slurm/ as data of `cospeech`; see pyproject.toml."""

from setuptools import find_namespace_packages, find_packages, setup

ROOMS = (
    "cospeech",
    "settings",
    "reports",
    "models",
    "datamodules",
    "pretrained",
    "preprocessing",
    "metrics",
    "trainers",
)
SHIPPED = find_namespace_packages(include=["configs*", "slurm*"])

setup(
    packages=[
        *find_packages(include=[name for room in ROOMS for name in (room, f"{room}.*")]),
        *(f"cospeech.{folder}" for folder in SHIPPED),
    ],
    package_dir={f"cospeech.{folder}": folder.replace(".", "/") for folder in SHIPPED},
    package_data={"": ["py.typed", "*.yaml", "*.sbatch"]},
)
