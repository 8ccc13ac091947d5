"""Networks that tests compare outputs of have nothing in them that is zero: such a part would hide itself."""

import pytest

from models.implicit_motion import ImplicitMotion
from tests.models import motion_networks, motion_transformers, small
from tests.models.filled import filled
from tests.models.test_chatanyone_renderer import made as renderer
from tests.models.test_implicit_motion_base import SMALL
from tests.trainers import test_motion_stage, test_smga_stage

FACTORIES = {
    "SMGA": small.tiny,
    "SMGA, one block": lambda: small.tiny(blocks="one"),
    "SMGA's stage": lambda: test_smga_stage.stage().network,
    "motion diffusion": motion_networks.small,
    "motion diffusion's stage": lambda: test_motion_stage.stage().network,
    "motion transformers": lambda: motion_transformers.transformer(audio_branch=True),
    "renderer": renderer,
    "base network": lambda: filled(ImplicitMotion(**SMALL)),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_no_part_is_zero(name):
    assert [part for part, values in FACTORIES[name]().named_parameters() if not values.any()] == []


def test_they_would_be():
    assert not ImplicitMotion(**SMALL).motion_decoder.deviate.bias.any(), "else there is nothing to fill"
