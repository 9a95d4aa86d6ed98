import subprocess
import sys
from typing import Any

import pytest

from denoise.errors import ModelError
from denoise.networks import NETWORKS, build, describe

ARGUMENTS: dict[str, dict[str, Any]] = {
    "Autoencoder": {"channels": 1, "widths": [4], "code": 6, "side": [8, 4], "activation": "relu", "depth": 1},
    "InpaintingUNet": {"channels": 1, "condition_channels": 1, "widths": [4, 6], "depths": [1, 2], "unshuffle": 4},
    "UNet": {"channels": 1, "condition_channels": 2, "widths": [4, 6], "depths": [1, 2], "unshuffle": 4},
    "NoiseLevel": {"channels": 1, "width": 6, "unshuffle": 1, "depths": [1, 2]},
    "SpectralUNet": {"widths": [4, 6], "bands": 32, "temporal": 8, "dilations": [1, 2], "highest_hz": 16_000},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_build_and_describe_are_inverse(name: str) -> None:
    config = {"class": name, **ARGUMENTS[name]}
    network = build(config)
    assert describe(network) == config
    again = build(describe(network))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in network.state_dict().items()}
    assert describe(build({"class": name}))["class"] == name


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_declare_what_inference_must_know(name: str) -> None:
    network = build({"class": name})
    if name == "SpectralUNet":
        assert network.receptive_field >= 1
    else:
        assert network.channels == 3
        assert network.multiple_of >= 1


@pytest.mark.parametrize("config", [{}, {"class": "os.system"}, {"class": ["UNet"]}, None, "UNet(", 5])
def test_only_known_classes_are_built(config: Any) -> None:
    with pytest.raises(ModelError, match=r"not known; a config may name UNet, InpaintingUNet, NoiseLevel"):
        build(config)


@pytest.mark.parametrize("wrong", [{"size": 3}, {"widths": []}, {"widths": [4, 4]}, {"widths": [-1], "depths": [1]}])
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="UNet cannot be built from"):
        build({"class": "UNet", **wrong})


def test_networks_and_weights_need_no_lightning() -> None:
    code = "import sys, denoise.networks, denoise.pretrained; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
