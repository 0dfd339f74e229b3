"""``python -m woolexec``: the same as the ``woolexec`` command."""

from woolexec.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
