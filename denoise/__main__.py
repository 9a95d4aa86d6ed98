"""The command, also as `python -m denoise`; Ctrl-C while the rest is still being imported ends it as later."""

import sys


def main() -> None:
    """Import the command and run it."""
    try:
        from denoise.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
