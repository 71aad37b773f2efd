"""Rows on the Hugging Face Hub: the branch becomes a commit first, and only that commit is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm_runner.dataset.loading import SAFE, kind_of, prepare, reading, unreadable
from vlm_runner.errors import ConfigurationError, DataError

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubDataset:
    repo: str
    commit: str
    kind: str
    builder: Any

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.builder.info.splits or ())

    @property
    def root(self) -> Path | None:
        """Where an image folder's files were downloaded to; rows of other formats hold their images."""
        from huggingface_hub.constants import HF_HUB_CACHE  # noqa: PLC0415 - heavy, and only the Hub needs it

        folder = Path(HF_HUB_CACHE).absolute() / f"datasets--{self.repo.replace('/', '--')}"
        return folder if self.kind == "imagefolder" else None

    def open(self, split: str) -> Any:
        with reading(f"Split '{split}' of {self.repo}"):
            return self.builder.as_dataset(split)


def open_hub(
    repo: str, revision: str | None, *, token: str | None, endpoint: str | None, cache: Path
) -> HubDataset:
    """
    The dataset `repo` as of `revision`, downloaded, or taken from the cache if it is there.

    Raises:
        ConfigurationError: no such dataset or revision, or no right to read it.
        DataError: it cannot be reached, or holds what is not only data.
    """
    commit = resolve(repo, revision, token=token, endpoint=endpoint)
    with reading(f"The dataset {repo}", endpoint=endpoint) as datasets:
        builder = datasets.load_dataset_builder(repo, revision=commit, token=token, cache_dir=str(cache))
        kind = kind_of(builder)
        if builder.hash != commit:
            raise _other_commit(repo, commit)
        if kind not in SAFE | {"cache"}:
            raise DataError(
                f"The dataset {repo} is in the format '{kind}', which is not read.",
                hint=f"Formats: {', '.join(sorted(SAFE))}.",
            )
        prepare(builder)
    return HubDataset(repo, commit, kind, builder)


def resolve(repo: str, revision: str | None, *, token: str | None, endpoint: str | None) -> str:
    """The commit that `revision` (a branch, a tag, a commit; None: main) points to now."""
    from huggingface_hub import HfApi  # noqa: PLC0415 - heavy, and only the Hub needs it
    from huggingface_hub.errors import (  # noqa: PLC0415
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi(endpoint=endpoint, token=token).dataset_info(repo, revision=revision, timeout=60)
    except OfflineModeIsEnabled:
        return _offline(repo, revision)
    except GatedRepoError:
        raise _no_right(
            repo, "is gated", f"Ask for access at its page, and set HF_TOKEN to your access token. ({repo})"
        ) from None
    except RepositoryNotFoundError:
        hint = "Check dataset.source; for a private dataset set HF_TOKEN to a token that may read it."
        raise _no_right(
            repo, "is not on the Hub, or is private and this token may not read it", hint
        ) from None
    except RevisionNotFoundError:
        raise ConfigurationError(
            f"The dataset {repo} has no revision '{revision}'.",
            hint="Set dataset.revision to a branch, a tag or a commit of it.",
        ) from None
    except HFValidationError as error:
        raise ConfigurationError(f"'{repo}' is not a valid dataset id: {error}.") from None
    except Exception as error:
        # HTTP's errors share no base with the Hub's, and the HTTP library is not ours to name.
        raise _unreached(repo, error) from error
    return str(info.sha)


def _no_right(repo: str, what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"The dataset {repo} {what}.", hint=hint)


def _unreached(repo: str, error: Exception) -> DataError:
    told = unreadable(f"The dataset {repo}", error)
    return DataError(
        told.message, hint="Check the network and HF_ENDPOINT, and start again: nothing is lost."
    )


def _offline(repo: str, revision: str | None) -> str:
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    raise ConfigurationError(
        f"HF_HUB_OFFLINE is set, so the revision '{revision or 'main'}' of {repo} cannot be looked up.",
        hint="Set dataset.revision to the full commit that was downloaded before, or unset HF_HUB_OFFLINE.",
    )


def _other_commit(repo: str, commit: str) -> DataError:
    return DataError(
        f"The Hub does not give {repo} at commit {commit}, and the cache holds another commit.",
        hint="Try again when the Hub can be reached.",
    )
