"""Where `fim-magic` and `python -m fim_magic` begin: from here on, Ctrl-C ends it without a traceback."""

from __future__ import annotations

import sys

_INTERRUPTED = 130  # as `cli_process` has it, which may be what is still being imported


def main() -> int:
    """Run the command line. Returns the exit status."""
    try:
        from fim_magic.cli import main as run

        return run()
    except KeyboardInterrupt:  # while Python reads the modules
        if sys.stderr is not None:
            sys.stderr.write("\nfim-magic: interrupted\n")
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
