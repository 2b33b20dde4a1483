"""The entry point of ``restore`` and of ``python -m restorecli``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, which answers an interruption itself once it is loaded; before that, this does."""
    try:
        from restorecli.cli.app import main as run

        run()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            print("restore: interrupted; nothing was begun", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
