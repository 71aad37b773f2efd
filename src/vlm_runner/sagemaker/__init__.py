"""A run as a SageMaker Pipeline: its definition (pure), and what its executions and steps say."""
