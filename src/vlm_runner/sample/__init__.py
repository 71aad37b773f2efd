"""
The dataset that comes with the package: small web pages and what is wrong with them.

Each row has a screenshot (`image`), the page's source (`html`), the accessibility findings that
axe-core reported on it (`output`: a list of `rationale`, `eval_items`, `eval_reason` and `plan`)
and the page's name (`page`). Two pages have no findings. `scripts/sample` in the repository
writes and checks the pages.
"""

from importlib.resources import files
from pathlib import Path

__all__ = ["sample_folder"]


def sample_folder() -> Path:
    """
    Tell where the sample's `train.parquet` and `validation.parquet` are.

    `datasets.load_dataset` takes the folder as it is and finds both splits in it.
    """
    return Path(str(files(__name__))) / "data"
