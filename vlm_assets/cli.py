"""Entry point of `vlm-assets`: listens for Ctrl-C before anything loads, then runs the command line.

The command line's own imports take most of a second, and Ctrl-C may come in it. What comes while Python itself
starts, before a line of this runs, cannot be caught.
"""

import sys

TYPE_CHECKING = False  # `typing` takes longer to load than all else that is needed before the watch
if TYPE_CHECKING:
    from vlm_assets.commands.command_line import app

__all__ = ["app", "main"]


def main() -> None:
    """Runs a command; Ctrl-C ends it with exit 130, while it loads too."""
    try:
        from vlm_assets.commands.interruption import ended_at_once, ended_by_ctrl_c

        words = sys.argv[1:]
        with ended_by_ctrl_c(words):
            with ended_at_once(words):
                from vlm_assets.commands.command_line import run
            run()
    except KeyboardInterrupt:  # it came before the watch stood
        sys.stderr.write("\nInterrupted. Nothing was changed; run it again.\n")
        sys.exit(130)


def __getattr__(name: str) -> object:
    """`app`, the commands without the watch, for who wants to call them."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vlm_assets.commands.command_line import app

    return app


if __name__ == "__main__":  # `python -m vlm_assets.cli` did nothing, and that well
    main()
