"""Score a trained model of sound and lips in noise.

    python evaluate_noise.py mini.yaml
    python evaluate_noise.py params.yaml --data_folder /path/to/N20EMv2

Takes the model that `experiment.py` with the same settings has written, or
another model folder (`--model audio_visual_transcriber`: the shipped one), and
scores the test songs from sound, lips and both: without noise and in each kind
at each level, with pictures missing, and with pictures that come late. Writes
`noise.csv`, `noise.txt` and `noise.png` into the folder of the results.
"""

from pathlib import Path

from speechbrain_ext import recipe
from speechbrain_ext.datasets import corpora_rows
from speechbrain_ext.inference.robustness import run_robustness
from speechbrain_ext.inference.transcriber import Transcriber


def main(hparams, run_opts):
    """Prepare the corpus, load the model, score it in all conditions."""
    output = Path(hparams["output_folder"])
    transcriber = Transcriber.from_hparams(
        hparams["model"] or output / "model", run_opts["device"] or "cpu"
    )
    rows = corpora_rows(hparams, ["n20emv2"])["n20emv2"]["test"]
    run_robustness(hparams, transcriber, rows, output / "results")


if __name__ == "__main__":
    recipe.run(main)
