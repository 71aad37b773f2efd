"""How the dataset of a spec is opened, by whatever opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.prompts.templates import compile_prompt, images_in

if TYPE_CHECKING:
    from vlm_runner.dataset.rows import Opened
    from vlm_runner.settings import Settings
    from vlm_runner.spec import RunSpec


def open_for(spec: RunSpec, settings: Settings, *, revision: str | None = None) -> Opened:
    """
    Open the dataset of `spec`, at `revision` if one is pinned. Blocks, and may download.

    Raises:
        ConfigurationError, DataError: it cannot be opened, or lacks a column that the templates need.
    """
    from vlm_runner.dataset.source import open_dataset  # noqa: PLC0415 - 1.5 s of CPU

    dataset = spec.dataset if revision is None else spec.dataset.model_copy(update={"revision": revision})
    if spec.prompt.preset == "openai-vision" and dataset.columns.image is None:
        image = images_in(dataset.columns.messages or "messages")
        columns = dataset.columns.model_copy(update={"image": image})
        dataset = dataset.model_copy(update={"columns": columns})
    token = settings.hf_token.get_secret_value() if settings.hf_token is not None else None
    required = compile_prompt(spec.prompt, dataset.columns).columns & {"html", "output"}
    return open_dataset(dataset, token=token, endpoint=settings.hf_endpoint, required=required)
