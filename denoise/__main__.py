"""`python -m denoise` is `denoise`."""

from denoise.cli import main

main()
