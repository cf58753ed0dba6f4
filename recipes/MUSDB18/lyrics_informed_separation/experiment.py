"""Train and test a separator of MUSDB18 that is told what is sung.

    python experiment.py mini.yaml
    python experiment.py params.yaml --data_folder /path/to/musdb18hq \
        --phones_folder /path/to/phones

The first command runs on synthetic songs in MUSDB18's layout, whose phones are
known, and takes minutes on two CPU cores; the second wants a GPU and a day.
`grid.py` trains what is to be compared.
"""

from pathlib import Path

from speechbrain.utils.distributed import run_on_main

from speechbrain_ext import recipe
from speechbrain_ext.brains.informed import InformedBrain
from speechbrain_ext.brains.vocal_separation import run_separation
from speechbrain_ext.datasets import corpora_rows, repeated
from speechbrain_ext.report.informed import song_pictures
from speechbrain_ext.separation.side_input import with_control


def main(hparams, run_opts):
    """Prepare the songs, train, test with each control, draw a song."""
    options = {
        "stems": False,
        "audio_folder": hparams["audio_folder"],
        "phones_folder": hparams["phones_folder"],
    }
    rows = corpora_rows(hparams, ["musdb18"], {"musdb18": options})["musdb18"]
    control = hparams["control"]
    train, valid = (
        with_control(rows[part], control) for part in ("train", "valid")
    )
    tests = {"musdb18": with_control(rows["test"], control)}
    for other in hparams["test_controls"]:
        tests[f"musdb18_{other}"] = with_control(rows["test"], other)
    run_separation(
        hparams,
        run_opts,
        repeated(train, hparams["repeats"]),
        valid,
        tests,
        hparams["test_sample_rate"],
        InformedBrain,
    )
    run_on_main(draw, [Path(hparams["output_folder"]), tests["musdb18"][0]])


def draw(output, song):
    """Draw a tested song, if there is a model."""
    if (output / "model").is_dir():
        song_pictures(output / "model", song, output / "results")


if __name__ == "__main__":
    recipe.run(main)
