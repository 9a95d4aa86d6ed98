"""Scores: PSNR and SSIM of a restorer on a folder of clean pictures."""
