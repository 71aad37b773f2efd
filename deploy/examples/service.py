"""
Runs as a service: POST a spec, GET how it stands. A runner lives as long as the service does.

    pip install vlm-runner starlette uvicorn
    VLM_RUNNER_CHECKPOINT_URI=s3://my-bucket/checkpoints uvicorn service:app

A restart loses nothing: on start it goes on with every run of the store that is not done. FastAPI takes the
same `lifespan` and the same handlers.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from vlm_runner import Runner, RunSpec, Settings, VlmRunnerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Runner]]:  # noqa: ARG001 - Starlette's signature
    async with Runner.open(Settings.from_environment()) as runner:
        for run_id in await runner.store.run_ids():
            await runner.resume(run_id)
        yield {"runner": runner}


async def start(request: Request) -> JSONResponse:
    try:
        spec = RunSpec.from_table(await request.json())
        handle = await request.state.runner.start(spec, run_id=request.query_params.get("run_id"))
    except VlmRunnerError as error:
        return JSONResponse({"error": str(error)}, status_code=422)
    return JSONResponse({"run_id": handle.run_id}, status_code=202)


async def show(request: Request) -> JSONResponse:
    try:
        run = await request.state.runner.get(request.path_params["run_id"])
    except VlmRunnerError as error:
        return JSONResponse({"error": str(error)}, status_code=404)
    return JSONResponse({"phase": run.phase, "outcome": run.outcome, "reason": run.reason})


async def cancel(request: Request) -> JSONResponse:
    run_id = request.path_params["run_id"]
    try:
        await request.state.runner.request_cancel(run_id, "asked for over HTTP")
    except VlmRunnerError as error:
        return JSONResponse({"error": str(error)}, status_code=404)
    return JSONResponse({"run_id": run_id}, status_code=202)


app = Starlette(
    routes=[
        Route("/runs", start, methods=["POST"]),
        Route("/runs/{run_id}", show, methods=["GET"]),
        Route("/runs/{run_id}", cancel, methods=["DELETE"]),
    ],
    lifespan=lifespan,
)
