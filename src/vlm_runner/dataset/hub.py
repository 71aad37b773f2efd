"""Rows on the Hugging Face Hub: the branch becomes a commit first, and only that commit is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm_runner.dataset.described import Description, describe, keep, kept
from vlm_runner.dataset.fingerprint import digest_of
from vlm_runner.dataset.loading import reading, unreadable
from vlm_runner.dataset.storage import HubStorage, is_offline, of_the_hub
from vlm_runner.errors import ConfigurationError, DataError, SourceUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from vlm_runner.dataset.downloads import Downloads

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubDataset:
    repo: str
    commit: str
    description: Description
    storage: HubStorage


def open_hub(
    repo: str,
    revision: str | None,
    config: str | None,
    *,
    token: str | None,
    endpoint: str | None,
    cache: Path,
    downloads: Downloads,
) -> HubDataset:
    """
    The dataset `repo` as of `revision`: what it consists of. No rows are fetched.

    Raises:
        ConfigurationError: no such dataset, revision or config, or no right to read it.
        DataError: it holds what is not only data.
        SourceUnavailable: the Hub cannot be reached.
    """
    commit = resolve(repo, revision, token=token, endpoint=endpoint)
    storage = HubStorage(repo, commit, token=token, endpoint=endpoint, downloads=downloads)
    described = cache / "vlm-runner" / "hub" / f"{digest_of(repo, commit, config)[:32]}.json"
    description = kept(described)
    if description is None:
        name = f"The dataset {repo}"
        if is_offline():
            raise DataError(
                f"{name} at commit {commit} is not in the cache, which holds another commit or none of it.",
                hint="Unset HF_HUB_OFFLINE, so that it can be downloaded.",
            )
        root = f"hf://datasets/{repo}@{commit}"
        with reading(name, endpoint=endpoint) as datasets, of_the_hub(name):
            description = describe(
                datasets, repo, config, root=root, name=name, cache=cache, commit=commit, token=token
            )
        keep(description, described)
    return HubDataset(repo, commit, description, storage)


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
        with of_the_hub(f"The dataset {repo}"):
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
    except SourceUnavailable:
        raise
    except Exception as error:
        # HTTP's errors share no base with the Hub's, and the HTTP library is not ours to name.
        raise unreadable(f"The dataset {repo}", error) from error
    return str(info.sha)


def _no_right(repo: str, what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"The dataset {repo} {what}.", hint=hint)


def _offline(repo: str, revision: str | None) -> str:
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    raise ConfigurationError(
        f"HF_HUB_OFFLINE is set, so the revision '{revision or 'main'}' of {repo} cannot be looked up.",
        hint="Set dataset.revision to the full commit that was downloaded before, or unset HF_HUB_OFFLINE.",
    )
