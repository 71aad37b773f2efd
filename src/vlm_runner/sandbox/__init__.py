"""
AWS on a laptop: one HTTP server that real botocore clients talk to, no kinder than AWS.

Bedrock and Bedrock Runtime are ours; S3, STS, SQS, EventBridge, SageMaker, ECS and IAM are moto's.
Nothing here imports the runner: they can only agree through HTTP and botocore's service model.
"""

from vlm_runner.sandbox.options import SandboxOptions
from vlm_runner.sandbox.prices import read_prices
from vlm_runner.sandbox.server import Sandbox, serve

__all__ = ["Sandbox", "SandboxOptions", "read_prices", "serve"]
