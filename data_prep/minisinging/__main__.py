"""Write MiniSinging: `python -m data_prep.minisinging --help`."""

from __future__ import annotations

import argparse
import inspect
import sys

from data_prep.minisinging.corpus import LAYOUTS
from speechbrain_ext.errors import SingBrainError


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.minisinging",
        description="Write synthetic singing in the layout of a real corpus.",
    )
    layouts = parser.add_subparsers(
        dest="layout", metavar="LAYOUT", required=True
    )
    for name, writer in LAYOUTS.items():
        sub = layouts.add_parser(name, help=writer.__doc__.splitlines()[0])
        sub.add_argument("folder", help="where to write")
        for key, parameter in inspect.signature(writer).parameters.items():
            default = parameter.default
            if key in ("folder", "progress"):
                continue
            flag = "--" + key.replace("_", "-")
            if default is False:
                sub.add_argument(flag, action="store_true", help="default: no")
            elif default == ():
                sub.add_argument(
                    flag,
                    nargs="*",
                    default=default,
                    metavar="FILE",
                    help="default: none",
                )
            elif isinstance(default, tuple) and isinstance(default[0], str):
                sub.add_argument(
                    flag,
                    nargs="+",
                    default=default,
                    metavar="WORD",
                    help=f"default: {' '.join(default)}",
                )
            elif isinstance(default, tuple):
                sub.add_argument(
                    flag,
                    nargs="+",
                    type=type(default[0]),
                    default=default,
                    metavar="NUMBER",
                    help="one number, or two for a range; default: "
                    f"{default[0]:g} {default[1]:g}",
                )
            else:
                sub.add_argument(
                    flag,
                    type=type(default),
                    default=default,
                    metavar="WORD" if isinstance(default, str) else "NUMBER",
                    help=f"default: {default}",
                )
    return parser


def main(arguments=None) -> int:
    """Run the command line.

    Arguments
    ---------
    arguments : list of str, optional
        Default: those of the process.

    Returns
    -------
    int
        Exit code, 2 for wrong input.
    """
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    writer = LAYOUTS[options.pop("layout")]
    parameters = inspect.signature(writer).parameters
    for key, value in options.items():
        # A range has a range as default, a list of words or files has not.
        default = parameters[key].default
        if isinstance(value, list) and not isinstance((*default, "")[0], str):
            if len(value) > 2:
                parser.error(f"--{key.replace('_', '-')}: give 1 or 2 numbers")
            options[key] = tuple(value) if len(value) == 2 else value[0]
    try:
        folder = writer(**options)
    except SingBrainError as error:
        print(f"singbrain: error: {error}", file=sys.stderr)
        return 2
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
