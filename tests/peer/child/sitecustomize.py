"""Run by every Python that `nengo_dl_suite.py` starts, so that a plain ``import nengo_dl`` works in all of them.

Four of NengoDL's tests start a Python of their own, which knows nothing of `pipeline.compat`.
"""

import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"


class LendKeras2:
    """An import hook that steps in before ``nengo_dl`` is looked for, once."""

    def find_spec(self, name, path=None, target=None):
        if name == "nengo_dl":
            sys.meta_path.remove(self)
            from cotrain.pipeline.compat import keras_2, silence_warnings

            silence_warnings()
            self.lent = keras_2()  # kept, and never left: this interpreter is all NengoDL's
            self.lent.__enter__()
        return None


hook = LendKeras2()
sys.meta_path.insert(0, hook)
