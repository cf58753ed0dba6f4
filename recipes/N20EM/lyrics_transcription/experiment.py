"""Train and test the transcription of lyrics on N20EM.

    python experiment.py mini.yaml
    python experiment.py params.yaml --data_folder /path/to/N20EM \
        --start_from /path/to/model/of/the/DSing/recipe

The first command needs no data: it writes MiniSinging in the layout of N20EM
first. The second should come near the word error rate of about 13 % on the
N20EM test lines that MM-ALT has without accompaniment (Gu et al., ACM MM
2022; read from a figure).
"""

from speechbrain_ext import recipe
from speechbrain_ext.brains.lyrics_transcription import (
    run_lyrics_transcription,
)
from speechbrain_ext.datasets import corpora_rows


def main(hparams, run_opts):
    """Prepare the corpora, train on N20EM and, if it is given, on DSing."""
    options = {"dsing": hparams["dsing_options"]}
    rows = corpora_rows(hparams, ["n20em", "dsing"], options)
    mixed_in = rows.get("dsing", {}).get("train", [])
    run_lyrics_transcription(
        hparams,
        run_opts,
        train=rows["n20em"]["train"] + mixed_in,
        valid=rows["n20em"]["valid"],
        tests={name: splits["test"] for name, splits in rows.items()},
    )


if __name__ == "__main__":
    recipe.run(main)
