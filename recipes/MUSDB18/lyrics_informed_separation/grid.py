"""Train variants with controls and seeds, and tell which differ.

    python grid.py mini.yaml --folder results/grid
    python grid.py params.yaml --folder results/grid --joint joint.yaml \
        -- --data_folder /path/to/musdb18hq --phones_folder /path/to/phones \
        --device cuda

Every variant, told what each control tells, is trained once for each seed with
the same settings and tested on the same songs, one training after the other by
`experiment.py`; what follows `--` goes to it. What is done is kept: start the
same command again after an interruption. Writes into the folder

    <variant>/<control>/<seed>/    what experiment.py writes
    grid.csv                       the score of every song in every training
    grid.txt                       tables: scores and paired comparisons
    grid.png, losses.png           scores with intervals; losses over epochs
"""

import argparse
import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

from speechbrain_ext.errors import ConfigError, SingBrainError
from speechbrain_ext.files import atomic_path
from speechbrain_ext.metrics.grid import read_scores, score_tables, summarize
from speechbrain_ext.report.plots import (
    loss_curves,
    read_train_log,
    systems_figure,
)
from speechbrain_ext.separation.informed import VARIANTS
from speechbrain_ext.separation.side_input import CONTROLS

JOINT = "joint"


def main(arguments=None):
    """Train what is missing, then write tables and pictures."""
    options = parsed(arguments)
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    remember(options, folder)
    runs = planned(options)
    for number, run in enumerate(runs, start=1):
        place = folder.joinpath(*map(str, run))
        if (place / "results" / "summary.txt").is_file():
            continue
        print(f"{number} of {len(runs)}: {', '.join(map(str, run))}")
        command = training(options, run, place)
        if subprocess.run(command, check=False).returncode:
            raise ConfigError(f"training {place} failed: {shlex.join(command)}")
    report(runs, folder, options.metric)


def parsed(arguments):
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Arguments after -- are those of experiment.py.",
    )
    add = parser.add_argument
    add("yaml", help="settings of all trainings, as mini.yaml")
    add("--folder", required=True, help="where results go")
    add("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    add("--controls", nargs="+", default=list(CONTROLS), choices=CONTROLS)
    add("--seeds", nargs="+", type=int, default=[1, 2, 3])
    add("--joint", help="settings of the network that aligns, as joint.yaml")
    add("--metric", default="vocals_SI-SDR", help="column of scores.csv")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    place = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:place])
    options.rest = arguments[place + 1 :]
    return options


def planned(options):
    """Variant, control and seed of every training, seed by seed.

    What hears the sound alone is told nothing, so one control is enough.
    """
    systems = [
        (variant, control)
        for variant in options.variants
        for control in options.controls
        if variant != "all_audio" or control == options.controls[0]
    ]
    if options.joint:
        systems += [(JOINT, control) for control in options.controls]
    return [(*system, seed) for seed in options.seeds for system in systems]


def training(options, run, place):
    """Command of one training; all share their songs."""
    variant, control, seed = run
    settings = options.joint if variant == JOINT else options.yaml
    shared = Path(options.folder).absolute()
    script = Path(__file__).with_name("experiment.py")
    command = [sys.executable, str(script), settings]
    command += ["--variant", variant, "--control", control, "--seed", str(seed)]
    command += ["--output_folder", str(place)]
    given = {part.partition("=")[0] for part in options.rest}
    for name, folder in (("audio_folder", "audio"), ("data_folder", "data")):
        # No key of a YAML may be there twice.
        if f"--{name}" not in given:
            command += [f"--{name}", str(shared / folder)]
    return command + options.rest


def remember(options, folder):
    """Refuse to mix trainings of different settings in one folder."""
    budget = {key: getattr(options, key) for key in ("yaml", "joint", "rest")}
    path = folder / "grid.json"
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before != budget:
            raise ConfigError(
                f"{folder}: holds trainings of {before}, not of {budget}: "
                "choose another folder"
            )
        return
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(budget, indent=1), encoding="utf-8")


def report(runs, folder, metric):
    """Write the scores of all songs, tables and pictures."""
    rows = [
        {
            "variant": variant,
            "control": control,
            "seed": seed,
            "song_id": song,
            metric: f"{score:.4f}",
        }
        for variant, control, seed in runs
        for song, score in read_scores(
            folder
            / variant
            / control
            / str(seed)
            / "results/musdb18/scores.csv",
            metric,
        ).items()
    ]
    with (
        atomic_path(folder / "grid.csv", True) as path,
        path.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    systems = summarize(folder / "grid.csv", metric)
    tables = score_tables(systems, metric)
    with atomic_path(folder / "grid.txt", True) as path:
        path.write_text(tables + "\n", encoding="utf-8")
    systems_figure(
        systems.bars(), folder / "grid.png", f"{metric}, dB", overwrite=True
    )
    first = runs[0][2]
    logs = {
        f"{variant}, {control}": read_train_log(
            folder / variant / control / str(seed) / "train_log.txt"
        )
        for variant, control, seed in runs
        if seed == first and control == runs[0][1]
    }
    loss_curves(logs, folder / "losses.png", overwrite=True)
    print(f"{tables}\n\nresults: {folder}")


if __name__ == "__main__":
    try:
        main()
    except SingBrainError as error:
        print(f"singbrain: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
