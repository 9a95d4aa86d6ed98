from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RECIPE = """
seed_everything: 1
model:
  class_path: denoise.training.modules.Restoration
  init_args:
    network:
      class_path: denoise.networks.unet.UNet
      init_args: {widths: [4, 4], depths: [1, 1]}
    noise_level:
      class_path: denoise.networks.noise_level.NoiseLevel
      init_args: {width: 4, depths: [1, 1]}
    corruption:
      class_path: denoise.corruptions.image.Gaussian
      init_args: {sigma: [0, 55]}
    validation_corruptions:
      sigma25: {class_path: denoise.corruptions.image.Gaussian, init_args: {sigma: 25}}
    warmup_steps: 1
data:
  class_path: denoise.training.data.PictureCrops
  init_args: {crop_px: 16, batch_size: 2, validation_px: 32}
trainer:
  accelerator: cpu
  max_steps: 2
  val_check_interval: 2
  check_val_every_n_epoch: null
  log_every_n_steps: 1
  num_sanity_val_steps: 0
  enable_progress_bar: false
  logger:
    class_path: lightning.pytorch.loggers.CSVLogger
    init_args: {save_dir: runs, name: tiny}
  callbacks:
    - class_path: lightning.pytorch.callbacks.EMAWeightAveraging
      init_args: {decay: 0.9}
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {dirpath: runs/tiny, filename: "{step}", save_last: true, save_top_k: -1, every_n_train_steps: 2}
    - class_path: denoise.training.callbacks.PictureGrid
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with four small pictures below `pictures` and the recipe `tiny.yaml`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    (tmp_path / "pictures").mkdir()
    draw = np.random.default_rng(0)
    for name in "abcd":
        coarse = Image.fromarray(draw.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        coarse.resize((60, 50), Image.Resampling.BICUBIC).save(tmp_path / "pictures" / f"{name}.png")
    return tmp_path
