"""Scores of a restorer: PSNR and SSIM on a folder of clean pictures, of filled holes too; PESQ and more on speech."""
