"""``python -m restorecli``: the same as ``restore``."""

from __future__ import annotations

from restorecli.cli.app import main

if __name__ == "__main__":
    main()
